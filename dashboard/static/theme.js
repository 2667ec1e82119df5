// The chosen theme, set before the first paint. "auto" follows the system.
'use strict';
(() => {
  const order = ['auto', 'light', 'dark'];
  const read = () => {
    try { return order.includes(localStorage.theme) ? localStorage.theme : 'auto'; } catch { return 'auto'; }
  };
  const apply = (theme) => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (!button) return;
    button.hidden = false;
    button.setAttribute('aria-label', `Theme: ${theme}`);
    button.title = `Theme: ${theme} (t)`;
  };
  const next = () => {
    const theme = order[(order.indexOf(read()) + 1) % order.length];
    try { localStorage.theme = theme; } catch { /* private windows: for this page only */ }
    apply(theme);
  };
  apply(read());
  window.isPlainKey = (event, key) => event.key === key && !event.ctrlKey && !event.metaKey
    && !event.altKey && !event.target.closest('input,textarea,select,[contenteditable]');
  document.addEventListener('DOMContentLoaded', () => {
    apply(read());
    document.getElementById('theme').addEventListener('click', next);
    document.addEventListener('keydown', (event) => { if (window.isPlainKey(event, 't')) next(); });
  });
})();
