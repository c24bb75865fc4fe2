// theme.js: asks for the page anew when the system turns dark or light, since charts are drawn in the page's colours.

const THEME_MS = 400; // Streamlit has changed its own colours by then

function followTheme() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    setTimeout(() => globalThis.__labThemeChanged?.(), THEME_MS);
  });
}
