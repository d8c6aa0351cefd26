// The page. Uses nothing but the public API. Everything that comes from outside is set as text, never as markup.
'use strict';

const MAX_EVENTS = 200;
const RETRY_MS = 2000;
const POLL_MS = 2000;
const $ = (id) => document.getElementById(id);
const state = { token: sessionStorage.getItem('token'), sources: new Map(), chosen: null, events: [], seq: null, down: new Set() };

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
  const problems = health.problems ?? [];
  $('health').className = health.healthy ? 'health good' : 'health bad';
  setText($('health-text'), health.healthy ? 'healthy' : problems.length > 1 ? `${problems.length} problems` : '1 problem');
  const lines = problems.length ? problems.map((p) => el('li', '', p)) : [el('li', 'fine', `Nothing is wrong. Up for ${duration(health.uptime_s)}, ${Math.round(health.rss_bytes / 1048576)} MiB in use.`)];
  $('problems').replaceChildren(...lines);
  setText($('version'), `v${health.version}`);
  setText($('node'), health.node ?? 'AI Mass Edge');
  setText($('site'), health.site ?? '');
  document.title = `${health.node ?? 'node'} · AI Mass Edge`;
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
const NOTICES = { connecting: 'Connecting…', stalled: 'No new pictures', failed: 'Not available, trying again', ended: 'The recording is over' };

/** One source: its live picture with what was found, its state and its figures. */
class SourceCard {
  constructor(source) {
    this.id = source.id;
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
    const text = NOTICES[now] ?? (this.picture ? '' : 'Waiting for the first picture…');
    this.notice.hidden = !text;
    if (text) this.notice.replaceChildren(el('span', '', text), el('small', '', error ?? ''));
    const h = source.health;
    if (h) {
      const fps = (v) => v.toFixed(1);
      const figures = [
        ['seen', `${fps(h.fps_seen)} fps`],
        ['analysed', `${fps(h.fps_analysed)} fps${h.fps_wanted ? ` of ${fps(h.fps_wanted)}` : ''}`],
        ...Object.entries(h.stage_ms).map(([stage, ms]) => [stage, `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`]),
      ];
      if (h.errors_total) figures.push(['errors', String(h.errors_total)]);
      if (h.reconnects_total) figures.push(['reconnects', String(h.reconnects_total)]);
      this.figures.replaceChildren(...figures.map(([k, v]) => el('div', '', null, el('dt', '', k), el('dd', '', v))));
    }
    const s = source.stream;
    setText(this.about, [s && `${s.width} × ${s.height}`, s?.description, source.chain.join(' → ')].filter(Boolean).join(' · '));
    this.draw();
  }

  show(visible) {
    this.root.hidden = !visible;
    if (visible === this.visible) return;
    this.visible = visible;
    if (visible && !document.hidden) this.open(); else this.close();
  }

  open() {
    if (this.socket) return;
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

// ---------------------------------------------------------------- drawing

const COLOURS = ['#4cc9f0', '#f9a03f', '#80ed99', '#f472b6', '#c4a7ff', '#ffd166', '#5eead4', '#ff8fa3'];
function colourOf(label) {
  let hash = 0;
  for (const letter of label) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return COLOURS[hash % COLOURS.length];
}

function trace(c, points, w, h) {
  c.beginPath();
  points.forEach(([x, y], n) => (n ? c.lineTo(x * w, y * h) : c.moveTo(x * w, y * h)));
}

function tag(c, text, x, y, unit, background, w) {
  c.font = `600 ${12 * unit}px system-ui, sans-serif`;
  const width = c.measureText(text).width + 10 * unit;
  const left = Math.max(0, Math.min(x, w - width));
  const top = Math.max(0, y);
  c.fillStyle = background;
  c.beginPath();
  c.roundRect(left, top, width, 18 * unit, 3 * unit);
  c.fill();
  c.fillStyle = '#0a0d12';
  c.textBaseline = 'middle';
  c.fillText(text, left + 5 * unit, top + 9.5 * unit);
}

function drawOverlay(c, w, h, unit, shapes, caption) {
  c.lineJoin = 'round';
  c.lineCap = 'round';
  drawMasks(c, w, h, unit, shapes.masks);
  for (const zone of shapes.zones) drawZone(c, w, h, unit, zone, caption);
  for (const line of shapes.lines) drawLine(c, w, h, unit, line, caption.states);
  for (const track of caption.tracks) drawTrack(c, w, h, unit, track);
}

function drawMasks(c, w, h, unit, masks) {
  for (const mask of masks) {
    c.save();
    trace(c, mask, w, h);
    c.closePath();
    c.clip();
    c.strokeStyle = '#ffffff30';
    c.lineWidth = 2 * unit;
    c.beginPath();
    for (let x = -h; x < w; x += 12 * unit) { c.moveTo(x, h); c.lineTo(x + h, 0); }
    c.stroke();
    c.restore();
  }
}

/** The counts of a zone: from the states if they are told, else from the tracks that are in it. */
function counts(zone, caption) {
  const found = new Map();
  const prefix = `count/${zone}/`;
  for (const [name, value] of Object.entries(caption.states)) {
    if (name.startsWith(prefix)) found.set(name.slice(prefix.length), value);
  }
  if (!found.size) {
    for (const t of caption.tracks) if (t.zones.includes(zone)) found.set(t.label, (found.get(t.label) ?? 0) + 1);
  }
  return [...found].filter(([, n]) => n).map(([label, n]) => `${n} ${label}`).join(', ');
}

function drawZone(c, w, h, unit, zone, caption) {
  const inside = counts(zone.id, caption);
  trace(c, zone.points, w, h);
  c.closePath();
  c.fillStyle = inside ? '#ffd16633' : '#ffd16618';
  c.fill();
  c.strokeStyle = '#ffd166';
  c.lineWidth = 1.5 * unit;
  c.setLineDash([6 * unit, 4 * unit]);
  c.stroke();
  c.setLineDash([]);
  const [x, y] = zone.points.reduce((best, p) => (p[1] < best[1] || (p[1] === best[1] && p[0] < best[0]) ? p : best));
  tag(c, inside ? `${zone.id}: ${inside}` : zone.id, x * w + 4 * unit, y * h + 4 * unit, unit, '#ffd166', w);
}

function drawLine(c, w, h, unit, line, states) {
  const [[x0, y0], [x1, y1]] = line.points.map(([x, y]) => [x * w, y * h]);
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  c.strokeStyle = '#ff5d8f';
  c.lineWidth = 3 * unit;
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  // "in" leads from the left-hand side to the right-hand side, looking from the first end to the second.
  const [rx, ry] = [-(y1 - y0) / length, (x1 - x0) / length];
  const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const [tx, ty] = [mx + rx * 26 * unit, my + ry * 26 * unit];
  c.moveTo(mx, my);
  c.lineTo(tx, ty);
  for (const turn of [2.5, -2.5]) {
    const angle = Math.atan2(ry, rx) + turn;
    c.moveTo(tx, ty);
    c.lineTo(tx + Math.cos(angle) * 9 * unit, ty + Math.sin(angle) * 9 * unit);
  }
  c.stroke();
  const total = (way) => states[`line/${line.id}/${way}`] ?? 0;
  tag(c, `${line.id}  in ${total('in')}  out ${total('out')}`, x0 + 6 * unit, y0 - 24 * unit, unit, '#ff9dbb', w);
}

function drawTrack(c, w, h, unit, track) {
  const colour = colourOf(track.label);
  const { x, y, w: bw, h: bh } = track.region;
  const path = track.path;
  c.strokeStyle = colour;
  c.lineWidth = 2 * unit;
  for (let n = 1; n < path.length; n++) {
    c.globalAlpha = 0.1 + 0.7 * (n / path.length);
    trace(c, [path[n - 1], path[n]], w, h);
    c.stroke();
  }
  c.globalAlpha = 1;
  c.lineWidth = 2.5 * unit;
  c.strokeRect(x * w, y * h, bw * w, bh * h);
  c.fillStyle = colour;
  for (const [px, py] of track.points) {
    c.beginPath();
    c.arc(px * w, py * h, 2.5 * unit, 0, 7);
    c.fill();
  }
  const text = `${track.label} ${Math.round(track.score * 100)} %  #${track.id}`;
  tag(c, text, x * w - 1 * unit, y * h - 19 * unit, unit, colour, w);
}

// ---------------------------------------------------------------- events

async function follow() {
  for (;;) {
    try {
      if (state.seq === null) {
        const { events } = await (await get('/v1/events?limit=100')).json();
        state.seq = events.at(-1)?.seq ?? 0;
        state.events = events.reverse();
        render();
      }
      const answer = await get('/v1/events?follow=true', { headers: { 'last-event-id': String(state.seq) } });
      if (!answer.ok) throw new Error(answer.status);
      lost('events', false);
      await readStream(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch { /* the banner says it */ }
    lost('events', true);
    await sleep(RETRY_MS);
  }
}

/** Server-sent events by hand: EventSource cannot send a token. */
async function readStream(reader) {
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let kind = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) kind = line.slice(6).trim();
        if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (!data.length) continue;
      const parsed = JSON.parse(data.join('\n'));
      if (kind === 'message') arrived(parsed);
      else if (kind === 'missed') add({ missed: parsed.count });
    }
  }
}

function arrived(event) {
  state.seq = event.seq;
  add(event);
}

function add(event) {
  state.events.unshift(event);
  state.events.length = Math.min(state.events.length, MAX_EVENTS);
  if (!wanted(event)) return;
  options($('by-kind'), kinds());
  const list = $('list');
  // Who reads further down is not pushed away.
  const before = list.scrollHeight;
  const row = item(event);
  row.firstChild.classList.add('fresh');
  list.prepend(row);
  if (list.scrollTop > 0) list.scrollTop += list.scrollHeight - before;
  while (list.children.length > MAX_EVENTS) list.lastChild.remove();
  $('no-events').hidden = true;
}

const kinds = () => [...new Set(state.events.map((e) => e.kind).filter(Boolean))].sort();

function wanted(event) {
  const [source, kind] = [$('by-source').value, $('by-kind').value];
  return event.missed || ((!source || event.source === source) && (!kind || event.kind === kind));
}

function render() {
  options($('by-kind'), kinds());
  const shown = state.events.filter(wanted);
  $('list').replaceChildren(...shown.map(item));
  $('no-events').hidden = shown.length > 0;
  setText($('no-events'), state.events.length ? 'No event of this selection among the newest.' : 'Nothing has happened yet. Events appear here as they are raised.');
}

function options(select, values) {
  const key = values.join(' ');
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  const chosen = select.value;
  const all = el('option', '', 'all');
  all.value = '';
  select.replaceChildren(all, ...values.map((v) => Object.assign(el('option', '', v), { value: v })));
  select.value = values.includes(chosen) ? chosen : '';
}

function describe(e) {
  const parts = [e.phase === 'once' ? null : e.phase];
  if (e.line) parts.push(`${e.line.id} ${e.line.direction} (${e.line.in_total} in, ${e.line.out_total} out)`);
  if (e.zone) parts.push(`zone ${e.zone}`);
  if (e.score != null) parts.push(`${Math.round(e.score * 100)} %`);
  if (e.track != null) parts.push(`#${e.track}`);
  if (e.replay) parts.push('replayed');
  return parts.filter(Boolean).join(' · ') || '\u00a0';
}

function item(event) {
  const row = el('li');
  if (event.missed) {
    row.append(el('div', 'gap', `${event.missed} events were missed: this page was too slow`));
    return row;
  }
  const time = el('time', '', new Date(event.time).toLocaleTimeString(undefined, { hour12: false }));
  time.dateTime = event.time;
  time.title = event.time;
  const button = el('button', `event ${event.severity}-level`, null,
    el('i'), time, el('strong', '', event.label), el('span', 'kind', event.kind),
    el('span', 'from', event.source), el('span', 'more', describe(event)));
  button.type = 'button';
  if (event.severity !== 'info') button.title = event.severity;
  button.onclick = () => {
    setText($('detail-title'), `${event.label} · ${event.source}`);
    setText($('detail-json'), JSON.stringify(event, null, 2));
    $('detail').showModal();
  };
  row.append(button);
  return row;
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
