// All that travels with each message of a carried widget. Its code comes once, by its carrier, before or after the first message.
const waiting = new Map(); // parentElement -> its newest message
const cleanups = new Map(); // parentElement -> what to call when it goes

function begin(parent, message) {
  const code = globalThis.__labCode?.["VERSION"];
  if (!code) return false;
  if (code.css && !parent.querySelector("style[data-lab]")) {
    const style = document.createElement("style");
    style.dataset.lab = "";
    style.textContent = code.css;
    parent.prepend(style);
  }
  const data = Array.isArray(message.data) ? message.data[0] : message.data;
  cleanups.set(parent, code.show({ ...message, data }));
  return true;
}

globalThis.addEventListener("lab-code", () => {
  for (const [parent, message] of waiting) if (begin(parent, message)) waiting.delete(parent);
});

export default function (message) {
  const parent = message.parentElement;
  if (!begin(parent, message)) waiting.set(parent, message);
  return () => {
    waiting.delete(parent);
    cleanups.get(parent)?.();
    cleanups.delete(parent);
  };
}
