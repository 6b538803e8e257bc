// A telephone in the browser: speaks Twilio's Media Streams protocol to the server's stream route, with the microphone
// as the caller's voice and the speakers as the caller's ear.

import { post } from './api.js';
import { decode, encode, fromBase64, toBase64 } from './mulaw.js';

const RATE = 8000;
/** Audio is put this far ahead of the speakers, s, so that a late frame leaves no gap. */
const AHEAD = 0.06;

export class Phone extends EventTarget {
  #socket = null;
  #context = null;
  #microphone = null;
  #node = null;
  #sources = new Set();
  #marks = [];
  #end = 0;
  #chunk = 0;
  #sequence = 1;
  #sent = 0;
  #muted = false;
  #over = false;

  /** The call, once there is one: `{call_sid, ...}`. */
  call = null;
  /** Frames of the bot that were played, for whoever wants to know that sound came. */
  heard = 0;
  #level = 0;
  #botLevel = 0;

  get muted() { return this.#muted; }
  set muted(muted) { this.#muted = muted; }
  get levels() {
    const now = { caller: this.#level, bot: this.speaking ? this.#botLevel : 0 };
    this.#level *= 0.8;
    this.#botLevel *= 0.8;
    return now;
  }
  get speaking() { return Boolean(this.#context) && this.#end > this.#context.currentTime; }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Asks for the microphone and a token, and calls. `clean`: whether the browser takes echo and noise out. */
  async start({ clean = true } = {}) {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error('The microphone can be used over HTTPS or on this machine only.');
    this.#context = new AudioContext({ latencyHint: 'interactive' });
    const resumed = this.#context.resume();
    try {
      this.#microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean, channelCount: 1 } });
    } catch (error) {
      await this.#context.close();
      const words = { NotAllowedError: 'The browser does not allow this page to use the microphone.', NotFoundError: 'There is no microphone.', NotReadableError: 'The microphone is in use by another program.' };
      throw new Error(words[error.name] ?? error.message, { cause: error });
    }
    try {
      await resumed;
      await this.#context.audioWorklet.addModule(new URL('./microphone.js', import.meta.url));
      this.call = await post('/api/test-calls', {});
      this.#connect();
    } catch (error) {
      this.#release();
      throw error;
    }
    const source = this.#context.createMediaStreamSource(this.#microphone);
    this.#node = new AudioWorkletNode(this.#context, 'microphone', { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => this.#voice(data);
    source.connect(this.#node);
  }

  #connect() {
    const { token, call_sid: sid, stream_url: address } = this.call;
    this.stream = `MZ${Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')}`;
    // The page's own host, as the page's policy wants it; the path and its query as told.
    const told = new URL(address, location.href);
    const url = new URL(told.pathname + told.search, location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.#socket = new WebSocket(url);
    this.#socket.addEventListener('open', () => {
      this.#send({ event: 'connected', protocol: 'Call', version: '1.0.0' });
      this.#send({
        event: 'start',
        start: {
          accountSid: 'browser', streamSid: this.stream, callSid: sid, tracks: ['inbound'],
          mediaFormat: { encoding: 'audio/x-mulaw', sampleRate: RATE, channels: 1 }, customParameters: { token },
        },
        streamSid: this.stream,
      });
      this.#tell('connected');
    });
    this.#socket.addEventListener('message', ({ data }) => this.#hear(data));
    this.#socket.addEventListener('close', ({ code, reason }) => this.#finish(code === 1000 || code === 1005 ? null : reason || `The connection was closed (${code}).`));
  }

  #send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ ...message, sequenceNumber: String(this.#sequence) }));
    this.#sequence += 1;
  }

  #voice(samples) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const bytes = new Uint8Array(samples.length);
    for (let i = 0; i < samples.length; i += 1) {
      const sample = this.#muted ? 0 : samples[i];
      bytes[i] = encode(sample);
      this.#level = Math.max(this.#level, Math.abs(sample));
    }
    this.#chunk += 1;
    this.#send({ event: 'media', streamSid: this.stream, media: { track: 'inbound', chunk: String(this.#chunk), timestamp: String(this.#sent), payload: toBase64(bytes) } });
    this.#sent += 20;
  }

  #hear(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.event === 'media') this.#play(fromBase64(message.media.payload));
    else if (message.event === 'mark') this.#mark(message.mark.name);
    else if (message.event === 'clear') this.#clear();
  }

  #play(bytes) {
    if (!bytes.length) return;
    const samples = decode(bytes);
    this.heard += 1;
    for (const sample of samples) this.#botLevel = Math.max(this.#botLevel, Math.abs(sample));
    const buffer = this.#context.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(samples, 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#context.destination);
    this.#end = Math.max(this.#end, this.#context.currentTime + AHEAD);
    source.start(this.#end);
    this.#end += buffer.duration;
    this.#sources.add(source);
    source.addEventListener('ended', () => this.#sources.delete(source));
  }

  /** A mark comes back when what was sent before it has been played. */
  #mark(name) {
    const mark = { name, timer: 0 };
    const wait = Math.max(0, this.#end - this.#context.currentTime);
    this.#marks.push(mark);
    mark.timer = setTimeout(() => this.#echo(mark), wait * 1000);
  }

  #echo(mark) {
    clearTimeout(mark.timer);
    const at = this.#marks.indexOf(mark);
    if (at < 0) return;
    this.#marks.splice(at, 1);
    this.#send({ event: 'mark', streamSid: this.stream, mark: { name: mark.name } });
  }

  /** What waits is dropped; its marks come back at once. */
  #clear() {
    for (const source of this.#sources) {
      try {
        source.stop();
      } catch {
        // It had not begun yet, or is over.
      }
    }
    this.#sources.clear();
    this.#end = 0;
    for (const mark of [...this.#marks]) this.#echo(mark);
  }

  /** A key of the telephone. */
  press(digit) {
    this.#send({ event: 'dtmf', streamSid: this.stream, dtmf: { track: 'inbound_track', digit } });
  }

  hangUp() {
    this.#send({ event: 'stop', streamSid: this.stream, stop: { accountSid: 'browser', callSid: this.call?.call_sid } });
    this.#socket?.close(1000);
    this.#finish(null);
  }

  #finish(problem) {
    if (this.#over) return;
    this.#over = true;
    // What was said last is still in the speakers.
    const rest = problem || !this.#context ? 0 : Math.min(3, Math.max(0, this.#end - this.#context.currentTime));
    setTimeout(() => this.#release(), rest * 1000);
    this.#tell('ended', { problem });
  }

  #release() {
    for (const mark of this.#marks) clearTimeout(mark.timer);
    this.#marks = [];
    for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.#node?.disconnect();
    if (this.#context?.state !== 'closed') this.#context?.close();
  }
}
