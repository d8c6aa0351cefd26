// The list of events: the newest of the past, then whatever comes. Texts from outside are set as text only.
'use strict';

const MAX_EVENTS = 200;

async function follow() {
  for (;;) {
    try {
      if (state.seq === null) {
        const { events } = await (await get('/v1/events?limit=100')).json();
        state.seq = events.at(-1)?.seq ?? 0;
        state.events = events.reverse();
        render();
      }
      state.feed = new AbortController();
      const headers = { 'last-event-id': String(state.seq) };
      const answer = await get('/v1/events?follow=true', { headers, signal: state.feed.signal });
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
  if (state.seq === null) return;
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
