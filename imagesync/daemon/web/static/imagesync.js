// Renews what is going on without loading the page again. Without it the page loads itself every ten seconds.
"use strict";
const part = document.querySelector("[data-renew]");
if (part) {
  let busy = part.hasAttribute("data-busy");
  const renew = async () => {
    try {
      if (document.hidden) return;
      const answer = await fetch(part.dataset.renew, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const text = await answer.text();
      if (busy && !text.trim()) return location.reload();
      busy = Boolean(text.trim());
      part.innerHTML = text;
    } catch {
      // The daemon restarts, perhaps.
    } finally {
      setTimeout(renew, busy ? 2000 : 10000);
    }
  };
  setTimeout(renew, busy ? 2000 : 10000);
}
if (document.querySelector("[data-making]")) setTimeout(() => location.reload(), 3000);
