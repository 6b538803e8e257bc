// Runs in the audio thread: the microphone's samples at 8 kHz, in frames of 20 ms.

const RATE = 8000;
const FRAME = 160;
const TAPS = 127;

/** A low-pass just below 4 kHz, so that nothing above it folds back. */
function lowPass(rate) {
  const cut = 3750 / rate;
  const middle = (TAPS - 1) / 2;
  const taps = Array.from({ length: TAPS }, (_, i) => {
    const x = i - middle;
    const ideal = x === 0 ? 2 * cut : Math.sin(2 * Math.PI * cut * x) / (Math.PI * x);
    return ideal * (0.54 - 0.46 * Math.cos((2 * Math.PI * i) / (TAPS - 1)));
  });
  const sum = taps.reduce((a, b) => a + b, 0);
  return Float32Array.from(taps, (t) => t / sum);
}

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.taps = lowPass(sampleRate);
    this.past = new Float32Array(TAPS);
    this.at = 0;
    this.step = sampleRate / RATE;
    this.due = 0;
    this.frame = new Float32Array(FRAME);
    this.filled = 0;
  }

  process(inputs) {
    const input = inputs[0]?.[0];
    // A microphone that gives nothing is silent, not absent: frames go on.
    const samples = input ?? new Float32Array(128);
    for (const sample of samples) {
      this.past[this.at] = sample;
      this.at = (this.at + 1) % TAPS;
      this.due -= 1;
      if (this.due <= 0) {
        this.due += this.step;
        let sum = 0;
        for (let i = 0; i < TAPS; i += 1) sum += this.taps[i] * this.past[(this.at + i) % TAPS];
        this.frame[this.filled] = sum;
        this.filled += 1;
        if (this.filled === FRAME) {
          this.port.postMessage(this.frame.slice());
          this.filled = 0;
        }
      }
    }
    return true;
  }
}

registerProcessor('microphone', Microphone);
