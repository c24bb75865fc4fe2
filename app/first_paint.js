// first_paint.js: marks the Lab's page until its settings are drawn, so that first_paint.css can keep their place.
(() => {
  const root = document.documentElement, isLab = () => location.pathname === "/";
  if (!isLab()) return;
  root.dataset.labShell = "";
  const watch = new MutationObserver(() => {
    if (isLab() && !document.querySelector('[data-testid="stSidebar"]')) return;
    delete root.dataset.labShell;
    watch.disconnect();
  });
  watch.observe(root, { childList: true, subtree: true });
})();
