// The page: connections, health and sources; overlay.js draws, events.js lists the events. Uses nothing but the public API. Everything that comes from outside is set as text, never as markup.
'use strict';

const RETRY_MS = 2000;
const POLL_MS = 2000;
const $ = (id) => document.getElementById(id);
const state = { token: sessionStorage.getItem('token'), sources: new Map(), chosen: null, events: [], seq: null, boot: null, feed: null, down: new Set() };

/** Makes an element with a class, text and children. */
function el(tag, className = '', text = null, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== null) e.textContent = text;
  e.append(...children);
  return e;
}
const setText = (e, text) => { if (e.textContent !== text) e.textContent = text; };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// ---------------------------------------------------------------- talking to the node

async function get(path, options = {}) {
  const headers = { ...options.headers };
  if (state.token) headers.authorization = `Bearer ${state.token}`;
  const answer = await fetch(path, { ...options, headers, cache: 'no-store' });
  if (answer.status === 401) { await login(); return get(path, options); }
  return answer;
}

let loginOpen = null;
function login() {
  loginOpen ??= new Promise((done) => {
    const dialog = $('login');
    setText($('login-error'), state.token ? 'The node does not accept this token.' : '');
    dialog.addEventListener('cancel', (e) => e.preventDefault());
    $('login-form').onsubmit = () => {
      state.token = $('token').value.trim();
      sessionStorage.setItem('token', state.token);
      $('token').value = '';
      loginOpen = null;
      done();
    };
    dialog.showModal();
  });
  return loginOpen;
}

/** Shows the banner while any connection is lost. */
function lost(what, isLost) {
  if (isLost) state.down.add(what); else state.down.delete(what);
  const banner = $('banner');
  banner.hidden = state.down.size === 0;
  if (!banner.hidden) setText(banner, `Connection to the node lost (${[...state.down].join(', ')}), retrying…`);
}

// ---------------------------------------------------------------- health and sources

async function poll() {
  for (;;) {
    try {
      const [health, sources] = await Promise.all([get('/healthz'), get('/v1/sources')]);
      showHealth(await health.json());
      showSources(await sources.json());
      lost('status', false);
    } catch (error) {
      lost('status', true);
      $('health').className = 'health';
      setText($('health-text'), 'unknown');
    }
    await sleep(POLL_MS);
  }
}

function showHealth(health) {
  // Another life of the program may count its events anew: read them again.
  if (state.boot && state.boot !== health.boot) { state.seq = null; state.feed?.abort(); }
  state.boot = health.boot;
  const problems = health.problems ?? [];
  $('health').className = health.healthy ? 'health good' : 'health bad';
  setText($('health-text'), health.healthy ? 'healthy' : problems.length > 1 ? `${problems.length} problems` : '1 problem');
  const lines = problems.length ? problems.map((p) => el('li', '', p)) : [el('li', 'fine', `Nothing is wrong. Up for ${duration(health.uptime_s)}, ${Math.round(health.rss_bytes / 1048576)} MiB in use.`)];
  if (health.governor?.state === 'degraded') lines.push(el('li', 'held', heldBack(health.governor)));
  $('problems').replaceChildren(...lines);
  setText($('version'), `v${health.version}`);
  setText($('node'), health.node ?? 'AI Mass Edge');
  setText($('site'), health.site ?? '');
  document.title = `${health.node ?? 'node'} · AI Mass Edge`;
}

/** What is not watched now, in one line. */
function heldBack({ reason, cameras }) {
  const less = cameras.filter((c) => c.fps_allowed < c.fps_configured || c.smaller_models);
  const shown = less.map((c) => `${c.id} ${c.fps_allowed.toFixed(1)} of ${c.fps_configured} fps${c.smaller_models ? ' by a smaller model' : ''}`);
  return `Held back (${reason}): ${shown.join(', ')}.`;
}

function duration(seconds) {
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min']];
  for (const [size, name] of units) if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  return `${Math.floor(seconds)} s`;
}

function showSources({ sources }) {
  const ids = sources.map((s) => s.id);
  for (const [id, card] of state.sources) if (!ids.includes(id)) { card.close(); state.sources.delete(id); }
  for (const source of sources) {
    let card = state.sources.get(source.id);
    if (!card) { card = new SourceCard(source); state.sources.set(source.id, card); $('grid').append(card.root); }
    card.update(source);
  }
  $('empty').hidden = sources.length > 0;
  if (state.chosen && !ids.includes(state.chosen)) state.chosen = null;
  showTabs(ids);
  options($('by-source'), ids);
}

function showTabs(ids) {
  const tabs = $('tabs');
  tabs.hidden = ids.length < 2;
  const key = ids.join(' ');
  if (tabs.dataset.key !== key) {
    tabs.dataset.key = key;
    tabs.replaceChildren(...[null, ...ids].map((id) => {
      const button = el('button', '', id ?? 'All');
      button.type = 'button';
      button.setAttribute('role', 'tab');
      button.onclick = () => { state.chosen = id; choose(); };
      button.onkeydown = (e) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
        if (!step) return;
        const all = [...tabs.children];
        const next = all[(all.indexOf(button) + step + all.length) % all.length];
        next.focus();
        next.click();
      };
      button.dataset.id = id ?? '';
      return button;
    }));
  }
  choose();
}

function choose() {
  for (const button of $('tabs').children) {
    const selected = button.dataset.id === (state.chosen ?? '');
    button.setAttribute('aria-selected', selected);
    button.tabIndex = selected ? 0 : -1;
  }
  let shown = 0;
  for (const [id, card] of state.sources) {
    const visible = !state.chosen || state.chosen === id;
    card.show(visible);
    shown += visible;
  }
  $('grid').classList.toggle('single', shown === 1);
}

const BADGES = { delivering: 'good', connecting: 'warn', stalled: 'warn', failed: 'bad' };
const STAGES = ['gate', 'preprocess', 'infer', 'postprocess', 'track'];
const NOTICES = { connecting: 'Connecting…', stalled: 'No new pictures', failed: 'Not available, trying again', ended: 'The recording is over' };

/** One source: its live picture with what was found, its state and its figures. */
class SourceCard {
  constructor(source) {
    this.id = source.id;
    this.hears = source.kind === 'microphone';
    this.canvas = el('canvas');
    this.canvas.setAttribute('role', 'img');
    this.badge = el('span', 'badge');
    this.motion = el('span', 'badge motion', 'motion');
    this.notice = el('div', 'notice');
    this.figures = el('dl', 'figures');
    this.about = el('p', 'about');
    this.screen = el('div', 'screen', null, this.canvas, this.notice);
    const head = el('div', 'card-head', null, el('h2', '', source.id), this.motion, this.badge);
    this.root = el('article', 'card', null, head, this.screen, this.figures, this.about);
    this.root.setAttribute('aria-label', `Source ${source.id}`);
    this.caption = null;
    this.picture = null;
    this.visible = false;
  }

  update(source) {
    this.source = source;
    const { state: now, error } = source.status;
    this.badge.className = `badge ${BADGES[now] ?? ''}`;
    setText(this.badge, now);
    this.motion.hidden = !source.motion;
    const level = source.metrics?.level;
    const heard = level ? `${level.rms_dbfs.toFixed(1)} dBFS, peak ${level.peak_dbfs.toFixed(1)}` : 'Listening…';
    const text = NOTICES[now] ?? (this.hears ? heard : this.picture ? '' : 'Waiting for the first picture…');
    this.notice.hidden = !text;
    if (text) this.notice.replaceChildren(el('span', '', text), el('small', '', error ?? ''));
    const h = source.metrics;
    if (h) {
      const fps = (v) => v.toFixed(1);
      const figures = this.hears ? [['health', h.health ?? 'unknown']] : [
        ['seen', `${fps(h.fps_received)} fps`],
        ['analysed', `${fps(h.fps_analysed)} fps${h.fps_configured ? ` of ${fps(h.fps_configured)}` : ''}`],
        ...STAGES.filter((stage) => stage in h.stage_ms).map((stage) => [stage, h.stage_ms[stage]]).map(([stage, ms]) => [stage, `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`]),
      ];
      if (h.errors_total) figures.push(['errors', String(h.errors_total)]);
      if (h.reconnects_total) figures.push(['reconnects', String(h.reconnects_total)]);
      this.figures.replaceChildren(...figures.map(([k, v]) => el('div', '', null, el('dt', '', k), el('dd', '', v))));
    }
    const s = source.stream;
    setText(this.about, [s && s.width && `${s.width} × ${s.height}`, s?.description, source.chain.join(' → ')].filter(Boolean).join(' · '));
    this.draw();
  }

  show(visible) {
    this.root.hidden = !visible;
    if (visible === this.visible) return;
    this.visible = visible;
    if (visible && !document.hidden) this.open(); else this.close();
  }

  open() {
    if (this.socket || this.hears) return;
    const query = new URLSearchParams({ fps: 10, max_side: 1280 });
    if (state.token) query.set('token', state.token);
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/v1/sources/${encodeURIComponent(this.id)}/live?${query}`);
    socket.binaryType = 'blob';
    socket.onmessage = ({ data }) => {
      lost(this.id, false);
      if (typeof data === 'string') this.next = JSON.parse(data);
      else this.receive(data, this.next);
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      lost(this.id, true);
      setTimeout(() => { if (this.visible && !document.hidden) this.open(); }, RETRY_MS);
    };
    socket.onopen = () => lost(this.id, false);
    this.socket = socket;
  }

  close() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    lost(this.id, false);
  }

  async receive(blob, caption) {
    let picture;
    try { picture = await createImageBitmap(blob); } catch { return; }
    if (this.caption && this.picture && caption.frame < this.caption.frame && this.caption.frame - caption.frame < 100) { picture.close(); return; }
    this.picture?.close();
    this.picture = picture;
    this.caption = caption;
    if (this.source?.status.state === 'delivering') this.notice.hidden = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (!this.picture || !this.caption) return;
    const { canvas, picture } = this;
    // At least 960 pixels wide, so that lines and letters stay sharp over small pictures.
    const scale = Math.max(1, 960 / picture.width);
    const [w, h] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
    if (canvas.width !== w || canvas.height !== h) {
      Object.assign(canvas, { width: w, height: h });
      this.screen.style.aspectRatio = `${w} / ${h}`;
    }
    const c = canvas.getContext('2d');
    c.drawImage(picture, 0, 0, w, h);
    // Letters have the same size on the screen, whatever the size of the canvas.
    const unit = w / (canvas.clientWidth || w);
    drawOverlay(c, w, h, Math.max(unit, 0.6), this.source.shapes, this.caption);
    const seen = this.caption.tracks.map((t) => t.label);
    canvas.setAttribute('aria-label', `Live picture of ${this.id}: ${seen.length ? seen.join(', ') : 'nothing found'}`);
  }
}

// ---------------------------------------------------------------- start

$('by-source').onchange = render;
$('by-kind').onchange = render;
$('detail-close').onclick = () => $('detail').close();
$('detail').onclick = (e) => { if (e.target === $('detail')) $('detail').close(); };
$('health').onclick = () => {
  const list = $('problems');
  list.hidden = !list.hidden;
  $('health').setAttribute('aria-expanded', String(!list.hidden));
};
// A page that nobody sees asks for no pictures.
document.addEventListener('visibilitychange', () => {
  for (const card of state.sources.values()) if (document.hidden) card.close(); else if (card.visible) card.open();
});
poll();
follow();
