// Live figures: one EventSource; changed texts and attributes are patched in place, a part whose
// structure changed is fetched as HTML. Without this script the page reloads itself every ten seconds.
'use strict';
(() => {
  const ATTRIBUTES = new Set(['d', 'x', 'width', 'aria-label', 'aria-valuenow', 'aria-valuetext']);
  const SILENT_MS = 5000, LONGEST_MS = 30000, SPOKEN_MS = 60000;
  const $ = (id) => document.getElementById(id);
  const figures = new Map();   // every figure that the stream sent, to fill parts that are fetched later
  const shapes = new Map();    // part -> the shape the server shows now
  const fetching = new Set();
  let source = null, isPaused = false, failures = 0, heardAt = Date.now(), retryAt = 0, spokenAt = 0;

  // --- times, in the reader's zone ---
  const locale = 'en-GB';
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });
  const weekday = new Intl.DateTimeFormat(locale, { weekday: 'short' });
  const day = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' });
  const second = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short' });
  const wordTime = (iso) => {
    if (!iso) return '';
    const at = new Date(iso), now = new Date();
    const text = clock.format(at);
    if (at.toDateString() === now.toDateString()) return text;
    const days = Math.abs(at - now) / 86400000;
    return `${days < 6 ? weekday.format(at) : day.format(at)} ${text}`;
  };
  const showTime = (element) => {
    const iso = element.getAttribute('datetime');
    const text = wordTime(iso);
    if (element.textContent !== text) element.textContent = text;
    element.title = iso;
  };

  // --- patching ---
  const put = (key, value) => {
    const name = CSS.escape(key);
    for (const element of document.querySelectorAll(`[data-k="${name}"]`)) {
      if (element.textContent !== value) element.textContent = value;
    }
    for (const element of document.querySelectorAll(`[data-t="${name}"]`)) {
      element.setAttribute('datetime', value);
      showTime(element);
    }
  };
  const putAttributes = (root, changed) => {
    for (const element of root.querySelectorAll('[data-a]')) {
      for (const pair of element.dataset.a.split(' ')) {
        const cut = pair.indexOf(':'), attribute = pair.slice(0, cut), key = pair.slice(cut + 1);
        if (ATTRIBUTES.has(attribute) && changed.has(key)) element.setAttribute(attribute, changed.get(key));
      }
    }
  };
  const apply = (changed) => {
    for (const [key, value] of changed) {
      if (key === 'title') document.title = value;
      else if (key === 'icon') document.querySelector('link[rel=icon]').setAttribute('href', value);
      else if (key === 'now') $('live-clock').textContent = ` · ${second.format(new Date(value))}`;
      else put(key, value);
    }
    putAttributes(document, changed);
  };
  const fill = (part) => {
    for (const element of part.querySelectorAll('[data-k]')) {
      const value = figures.get(element.dataset.k);
      if (value !== undefined) element.textContent = value;
    }
    for (const element of part.querySelectorAll('[data-t]')) {
      const value = figures.get(element.dataset.t);
      if (value !== undefined) element.setAttribute('datetime', value);
    }
    putAttributes(part, figures);
    part.querySelectorAll('time').forEach(showTime);
    part.querySelectorAll('[data-origin]').forEach((e) => { e.textContent = `${location.origin}/v1`; });
  };

  // --- parts whose structure changed ---
  const swap = async (name) => {
    const old = document.querySelector(`[data-part="${CSS.escape(name)}"]`);
    if (!old || old.dataset.shape === shapes.get(name) || fetching.has(name)) return;
    if (old.contains(document.activeElement)) return; // tried again when the focus leaves
    fetching.add(name);
    try {
      const answer = await fetch(`/ui/part/${encodeURIComponent(name)}`, { signal: AbortSignal.timeout(8000) });
      if (!answer.ok || old.contains(document.activeElement)) return;
      const holder = document.createElement('template');
      holder.innerHTML = await answer.text();
      const fresh = holder.content.querySelector('[data-part]');
      const open = [...old.querySelectorAll('details[open]')].map((d) => d.id);
      fresh.querySelectorAll('details').forEach((d) => { d.open = open.includes(d.id); });
      old.replaceWith(fresh);
      fill(fresh);
      shapes.set(name, fresh.dataset.shape);
    } catch { /* the next event of the stream tries again */ } finally { fetching.delete(name); }
  };
  const swapAll = () => { for (const name of shapes.keys()) swap(name); };
  document.addEventListener('focusout', () => setTimeout(swapAll));

  // --- the live region: screen readers read the sentence, at most once a minute ---
  const speak = () => {
    const text = $('sentence').textContent;
    if ($('spoken').textContent === text || Date.now() - spokenAt < SPOKEN_MS) return;
    $('spoken').textContent = text;
    spokenAt = Date.now();
  };

  // --- the connection ---
  const word = () => {
    const state = isPaused ? 'Paused' : failures ? 'Lost' : 'Live';
    $('live-word').textContent = state;
    $('live').dataset.state = state;
  };
  const spell = (s) => (s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} m` : `${Math.floor(s / 3600)} h`);
  const showStale = () => {
    const isStale = failures > 0 && !isPaused;
    $('stale').hidden = !isStale;
    $('figures').classList.toggle('stale', isStale);
    if (!isStale) return;
    $('stale-head').textContent = `Updates stopped ${spell(Math.floor((Date.now() - heardAt) / 1000))} ago.`;
    const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const next = source ? 'Trying now.' : `Trying again in ${wait} s.`;
    $('stale-text').textContent = `${next} Figures below are from ${second.format(new Date(heardAt))}.`;
  };
  const close = () => { if (source) source.close(); source = null; };
  const lose = () => {
    close();
    failures += 1;
    const longest = Math.min(LONGEST_MS, 1000 * 2 ** (failures - 1));
    retryAt = Date.now() + longest / 2 + Math.random() * longest / 2;
    word();
    showStale();
  };
  // The server refuses the stream of a session that is over: loaded again, the page asks for the key.
  const askAgain = async () => {
    try {
      const answer = await fetch('/ui/part/sentence', { signal: AbortSignal.timeout(8000) });
      if (answer.status === 401) location.reload();
    } catch { /* the server does not answer: the stream is tried again */ }
  };
  const heard = () => {
    heardAt = Date.now();
    if (failures) { failures = 0; word(); showStale(); }
  };
  const open = () => {
    close();
    const mine = new EventSource('/ui/stream');
    mine.openedAt = Date.now();
    source = mine;
    mine.addEventListener('part', (event) => {
      for (const [name, shape] of Object.entries(JSON.parse(event.data))) shapes.set(name, shape);
      heard();
      swapAll();
    });
    mine.addEventListener('message', (event) => {
      heard();
      const changed = new Map();
      for (const [key, value] of Object.entries(JSON.parse(event.data))) {
        if (value === null) figures.delete(key);
        else { figures.set(key, value); changed.set(key, value); }
      }
      apply(changed);
      swapAll();
      speak();
    });
    mine.addEventListener('error', () => { if (mine === source) { lose(); askAgain(); } });
  };
  const tick = () => {
    if (document.hidden || isPaused) return;
    if (!source) { if (Date.now() >= retryAt) open(); }
    else if (Date.now() - Math.max(heardAt, source.openedAt) > SILENT_MS) lose();
    showStale();
  };
  const pause = () => {
    isPaused = !isPaused;
    if (isPaused) close(); else { retryAt = 0; failures = 0; open(); }
    word();
    showStale();
  };

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else if (!isPaused) open();
  });
  document.addEventListener('keydown', (event) => { if (window.isPlainKey(event, 'r')) pause(); });
  $('stale-retry').addEventListener('click', open);
  $('live').hidden = false;
  $('keys').hidden = false;
  $('zone').textContent = `Times in ${zone}`;
  fill(document);
  word();
  spokenAt = Date.now();
  if (!document.hidden) open();
  setInterval(tick, 1000);
})();
