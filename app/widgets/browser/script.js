// script.js: begins what the other files define, once for the browser's page.

export default function ({ parentElement, setTriggerValue }) {
  globalThis.__labThemeChanged = () => setTriggerValue("theme", Date.now());
  const box = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (box) box.style.display = "none";
  if (globalThis.__labPage) return;
  globalThis.__labPage = true;
  joinEntries();
  keepTypedText();
  reloadDeadPage();
  followTheme();
  resizePanels();
  closeDrawerAtStart();
}
