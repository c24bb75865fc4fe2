// dead_page.js: a page that Streamlit has given up for good is loaded anew. Where one message cannot be read, it stops talking
// to the server and stays on the screen with every knob dead; what was set is in the URL, so loading it again loses nothing.

const RELOADED = "lab.reloaded", RELOAD_AT_MOST_EVERY = 15000; // milliseconds

function reloadDeadPage() {
  const app = document.querySelector('[data-testid="stApp"]');
  if (!app) return;
  const look = () => {
    if (app.dataset.testConnectionState !== "DISCONNECTED_FOREVER") return;
    const due = Number(sessionStorage.getItem(RELOADED) ?? 0) + RELOAD_AT_MOST_EVERY - Date.now();
    if (due > 0) return setTimeout(look, due);
    sessionStorage.setItem(RELOADED, Date.now());
    location.reload();
  };
  new MutationObserver(look).observe(app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
  look();
}
