// Draws what was found over a picture: boxes, tails, zones, lines, masks. All in fractions of the frame.
'use strict';

// Not the yellow of zones nor the pink of lines.
const COLOURS = ['#4cc9f0', '#f9a03f', '#80ed99', '#c4a7ff', '#5eead4', '#e2e8f0'];
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
  // At the lowest corner: upper edges are where the labels of boxes are.
  const [x, y] = zone.points.reduce((best, p) => (p[1] > best[1] || (p[1] === best[1] && p[0] < best[0]) ? p : best));
  tag(c, inside ? `${zone.id}: ${inside}` : zone.id, x * w + 4 * unit, y * h - 22 * unit, unit, '#ffd166', w);
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
