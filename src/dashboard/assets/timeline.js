// A call on one time axis: the waveform of both sides, who spoke when, what happened; with the recording's player.

import { button, h, icon, select, svg } from './ui.js';
import { length, millis } from './words.js';
import { cutPart, noteText } from './talk.js';

/** Loudness below which a side is silent, of 1. */
const QUIET = 0.06;

/** The first and the last moment, ms, at which a side is heard between two others; none if it is not. */
function sounding(wave, side, from, to) {
  const peaks = wave?.[side] ?? [];
  const each = peaks.length ? wave.duration_ms / peaks.length : 0;
  const first = Math.max(0, Math.floor((from - wave?.offset_ms) / each));
  const last = Math.min(peaks.length - 1, Math.floor((to - wave?.offset_ms) / each));
  let start = null;
  let end = null;
  for (let i = first; i <= last; i += 1) {
    if (peaks[i] < QUIET) continue;
    start ??= i;
    end = i + 1;
  }
  return start === null ? null : [start * each + wave.offset_ms, end * each + wave.offset_ms];
}

/** When each turn was spoken: `[{turn, start, end}]`, ms. A turn's own time is when it was decided: after the caller's
    words, before the bot's. The recording says more exactly; without one, it is the time that so many letters take. */
export function spans(turns, total, wave, latencyOf) {
  const taken = { caller: 0, bot: 0 };
  return turns.map((turn, i) => {
    const at = turn.at_ms ?? 0;
    const caller = turn.speaker === 'caller';
    const text = caller ? turn.said : (cutPart(turn.said, turn.heard)[0] || turn.said);
    const long = Math.max(500, (text ?? '').length * 65);
    let from = taken[turn.speaker];
    let to = at;
    if (!caller) {
      from = Math.max(from, at);
      to = turns.slice(i + 1).find((next) => next.speaker === 'bot')?.at_ms ?? total;
      if (to <= from) to = from + long;
    }
    const guess = caller ? [Math.max(from, at - 700 - long), at - 500] : [from + (latencyOf(turn).first_sent_ms ?? 0), from + (latencyOf(turn).first_sent_ms ?? 0) + long];
    const heard = sounding(wave, turn.speaker, from, caller ? to : Math.min(to, guess[1] + 4000));
    const [start, end] = heard ?? guess;
    const span = { turn, start: Math.min(total, Math.max(0, start)), end: Math.min(total, Math.max(start + 250, end)) };
    taken[turn.speaker] = span.end;
    return span;
  });
}

/** The outline of one side's loudness, as a closed path in a box 0..n × 0..100 around its middle. */
function outline(peaks) {
  const top = peaks.map((p, i) => `${i} ${(50 - Math.max(0.6, p * 48)).toFixed(1)}`);
  const bottom = peaks.map((p, i) => `${i} ${(50 + Math.max(0.6, p * 48)).toFixed(1)}`).reverse();
  return `M${top.join('L')}L${bottom.join('L')}Z`;
}

/** Distance between marks of the axis, s. */
function step(seconds) {
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => seconds / s <= 9) ?? 900;
}

/** `silent`: why there is nothing to play. `parts`: the turns' spans. `wave`: {offset_ms, duration_ms, caller: [0..1], bot: [0..1]} or null; `audio`: address or null. */
export function timeline({ parts, events, total, wave, audio, silent, onTurn, signal }) {
  const at = (ms) => `${((ms / total) * 100).toFixed(3)}%`;
  const place = (ms, end) => ({ left: at(ms), width: end === undefined ? undefined : at(Math.max(1, end - ms)) });
  const dressed = (tag, props, ms, end, ...children) => {
    const css = Object.fromEntries(Object.entries(place(ms, end)).filter(([, v]) => v));
    return h(tag, { ...props, css }, ...children);
  };
  const offset = wave?.offset_ms ?? 0;

  const lane = (name, label) => {
    const box = h('div', { class: `lane ${name}` }, h('span', { class: 'lane-name' }, label));
    const peaks = wave?.[name];
    if (peaks?.length > 1) {
      const drawing = svg('svg', { class: 'wave', viewBox: `0 0 ${peaks.length - 1} 100`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, svg('path', { d: outline(peaks) }));
      box.append(dressed('div', { class: 'wave-box' }, offset, offset + wave.duration_ms, drawing));
    }
    const blocks = parts.filter(({ turn }) => turn.speaker === name);
    box.append(...blocks.map(({ turn, start, end }) => dressed('button', {
      // The transcript has the same for keys and screen readers.
      type: 'button', class: `block ${turn.interrupted ? 'interrupted' : ''}`, tabindex: '-1', 'aria-hidden': 'true', data: { n: turn.n }, title: turn.said, onclick: () => { seek(start); onTurn?.(turn); },
    }, start, end)));
    return box;
  };

  const every = step(total / 1000);
  const ticks = [];
  // A mark at the very end would have no room for its time.
  for (let s = 0; s * 1000 <= total * 0.97; s += every) ticks.push(dressed('span', { class: 'tick' }, s * 1000, undefined, length(s)));
  const marks = events.filter((e) => e.at_ms >= 0 && e.at_ms <= total).map((e) => dressed('i', { class: `event-mark ${e.tone ?? ''}`, title: `${length(e.at_ms / 1000)} ${noteText(e) ?? e.code}` }, e.at_ms));
  const head = h('div', { class: 'playhead' });
  const axis = h('div', {
    class: 'axis', role: 'slider', tabindex: '0', 'aria-label': 'Position in the call', 'aria-valuemin': '0', 'aria-valuemax': String(Math.round(total / 1000)), 'aria-valuenow': '0', 'aria-valuetext': '0:00',
  }, ticks);
  const inner = h('div', { class: 'timeline-inner' }, lane('caller', 'Caller'), lane('bot', 'Receptionist'), h('div', { class: 'event-lane' }, marks), axis, head);
  const scroller = h('div', { class: 'timeline-scroll' }, inner);

  let position = 0;
  const sound = audio ? h('audio', { src: audio, preload: 'metadata' }) : null;
  const now = h('span', { class: 'num mono' }, `0:00 / ${length(total / 1000)}`);
  const show = () => {
    head.style.setProperty('left', at(position));
    axis.setAttribute('aria-valuenow', String(Math.round(position / 1000)));
    axis.setAttribute('aria-valuetext', length(position / 1000));
    now.textContent = `${length(position / 1000)} / ${length(total / 1000)}`;
    const current = parts.findLast?.(({ start, end }) => position >= start && position < end + 200);
    for (const block of inner.querySelectorAll('.block')) block.classList.toggle('now', Number(block.dataset.n) === current?.turn.n);
    onTurn?.(current?.turn ?? null, true);
  };
  const seek = (ms) => {
    position = Math.min(total, Math.max(0, ms));
    if (sound) sound.currentTime = Math.max(0, (position - offset) / 1000);
    show();
  };
  const fromPointer = (event) => {
    const box = axis.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * total);
  };
  inner.addEventListener('pointerdown', (event) => {
    if (event.target.closest('.block') || event.button !== 0) return;
    fromPointer(event);
    inner.setPointerCapture(event.pointerId);
    const move = (e) => fromPointer(e);
    inner.addEventListener('pointermove', move);
    inner.addEventListener('pointerup', () => inner.removeEventListener('pointermove', move), { once: true });
  });
  axis.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 5000, ArrowLeft: -5000, PageUp: 30000, PageDown: -30000 }[event.key];
    if (by) seek(position + by);
    else if (event.key === 'Home') seek(0);
    else if (event.key === 'End') seek(total);
    else if (event.key === ' ' && sound) toggle();
    else return;
    event.preventDefault();
  });

  const controls = h('div', { class: 'row player' });
  const toggle = () => (sound.paused ? sound.play().catch(() => null) : sound.pause());
  if (sound) {
    const play = button('Play', { tone: 'main', 'aria-label': 'Play the recording', onclick: toggle }, 'play');
    const speed = select('speed', [['1', '1×'], ['1.25', '1.25×'], ['1.5', '1.5×'], ['2', '2×']], { 'aria-label': 'Speed', onchange: (e) => { sound.playbackRate = Number(e.target.value); } });
    const failedNote = h('span', { class: 'pill bad', hidden: true }, 'The recording cannot be played');
    const sync = () => {
      play.replaceChildren(icon(sound.paused ? 'play' : 'pause'), sound.paused ? 'Play' : 'Pause');
      play.setAttribute('aria-label', sound.paused ? 'Play the recording' : 'Pause the recording');
      controls.dataset.playing = String(!sound.paused);
    };
    sound.addEventListener('play', sync);
    sound.addEventListener('pause', sync);
    sound.addEventListener('error', () => { failedNote.hidden = false; play.disabled = true; });
    let running = 0;
    const follow = () => {
      if (!sound.paused) {
        position = sound.currentTime * 1000 + offset;
        show();
      }
      running = requestAnimationFrame(follow);
    };
    follow();
    sound.addEventListener('ended', () => { position = Math.min(total, sound.duration * 1000 + offset); show(); });
    signal?.addEventListener('abort', () => { sound.pause(); cancelAnimationFrame(running); });
    controls.append(play, now, speed, failedNote, sound);
  } else {
    controls.append(now, h('span', { class: 'muted small', role: 'status' }, silent || 'There is no recording of this call.'));
  }
  const zoom = h('input', { type: 'range', min: '1', max: '12', step: '0.5', value: '1', 'aria-label': 'Zoom', oninput: (e) => inner.style.setProperty('width', `${Number(e.target.value) * 100}%`) });
  controls.append(h('label', { class: 'zoom small muted' }, 'Zoom', zoom));
  const node = h('div', { class: 'timeline' }, controls, scroller);
  return { node, seek, sound, controls };
}

const STAGES = [
  ['end_of_turn_ms', 'Caller has finished', 1], ['first_token_ms', 'Thinking', 2], ['first_sentence_ms', 'First sentence', 3], ['first_audio_ms', 'Voice', 4], ['first_sent_ms', 'On the line', 5],
];

/** The stages of one answer one after the other, ms: `[{name, stage, start, end}]`. */
export function stages(latency) {
  const out = [];
  let at = 0;
  const base = latency.end_of_turn_ms ?? 0;
  for (const [key, name, stage] of STAGES) {
    const value = latency[key];
    if (value === null || value === undefined) continue;
    const end = stage === 1 ? value : base + value;
    if (end >= at) out.push({ name, stage, start: at, end });
    at = Math.max(at, end);
  }
  return out;
}

/** Every answer's way from the caller's last word to the first sound, on one scale. */
export function waterfall(turns, latencyOf, seek, startOf) {
  const rows = turns.map((turn) => ({ turn, parts: stages(latencyOf(turn)) })).filter(({ turn, parts }) => turn.speaker === 'bot' && parts.length);
  if (!rows.length) return null;
  const longest = Math.max(500, ...rows.map(({ parts }) => parts.at(-1).end));
  const scale = Math.ceil(longest / 250) * 250;
  return h('div', { class: 'waterfall' },
    h('div', { class: 'row legend small' }, STAGES.map(([, name, n]) => h('span', null, h('i', { class: `swatch stage-${n}` }), name))),
    h('ol', null, rows.map(({ turn, parts }) => h('li', null,
      h('button', { type: 'button', class: 'at num', 'aria-label': `Play from ${length((startOf.get(turn) ?? turn.at_ms) / 1000)}`, onclick: () => seek(turn) }, length((startOf.get(turn) ?? turn.at_ms) / 1000)),
      h('div', { class: 'bars', role: 'img', 'aria-label': parts.map((p) => `${p.name} ${millis(p.end - p.start)}`).join(', ') },
        parts.map((p) => h('i', { class: `stage-${p.stage}`, title: `${p.name}: ${millis(p.end - p.start)}`, css: { left: `${(p.start / scale) * 100}%`, width: `${Math.max(0.4, ((p.end - p.start) / scale) * 100)}%` } }))),
      h('span', { class: 'num total' }, millis(parts.at(-1).end))))),
    h('div', { class: 'waterfall-axis small muted num' }, [0, 0.25, 0.5, 0.75, 1].map((f) => h('span', null, f ? millis(scale * f) : '0 s'))));
}

