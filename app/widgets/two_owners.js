// two_owners.js: a value with two owners.

// A value that both the person and the page may set. The page's is taken over when the page changes it, and never when it only
// repeats, late, what the person had set before.
class Shared {
  constructor(value) {
    this.value = value;
    this.sent = [];
  }

  set(value) {
    this.value = value;
    this.sent = [...this.sent.slice(-8), JSON.stringify(value)];
  }

  adopt(value) {
    const text = JSON.stringify(value);
    if (text === this.seen) return false;
    this.seen = text;
    const echo = this.sent.indexOf(text);
    this.sent = echo < 0 ? [] : this.sent.slice(echo + 1);
    if (echo >= 0 || text === JSON.stringify(this.value)) return false;
    this.value = value;
    return true;
  }
}
