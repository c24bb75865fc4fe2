// drawer.js: on a phone the settings lie over the page; where Start is pressed among them they go, so that the run is seen.

function closeDrawerAtStart() {
  addEventListener("click", (event) => {
    if (!event.target.closest?.(".st-key-lab-start button") || !matchMedia("(max-width: 768px)").matches) return;
    setTimeout(() => document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click(), 150); // the press first
  });
}
