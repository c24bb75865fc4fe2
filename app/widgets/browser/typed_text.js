// typed_text.js: what was typed is not lost with its field. Streamlit takes over a text when its field loses the focus, but
// a popover or dialog that Escape closes takes the field away before that.

function keepTypedText() {
  addEventListener(
    "keydown",
    ({ key, target }) => {
      const typed = target.matches?.("textarea, input:not([role=combobox])");
      if (key === "Escape" && typed && target.closest("[role=dialog], [data-testid=stPopoverBody]")) target.blur();
    },
    { capture: true },
  );
}
