// history.js: one act of a person is one entry of the browser's history.
//
// Streamlit makes an entry whenever it changes the address: one for a page that is entered, another when that page then
// says in the address what it shows, and where a button leads to another page, one more for the old page's address being
// cleared. What follows such an entry without an act in between belongs to it.

const ACTS = ["pointerdown", "click", "keydown", "input"];

function joinEntries() {
  let unfinished = true; // whether the present entry takes up the addresses that come next
  for (const kind of ACTS) addEventListener(kind, () => (unfinished = false), { capture: true });
  const push = history.pushState;
  history.pushState = function (state, unused, address) {
    if (unfinished) return history.replaceState(state, unused, address);
    const next = new URL(address, location.href);
    unfinished = next.pathname !== location.pathname || next.search === "";
    return push.call(history, state, unused, address);
  };
}
