// Runs the programs that publish/network.py wrote: lists of layers over buffers and weights.

export class Network {
  // description: {buffers, weights, programs}. bytes: all weights as float16, in a Uint8Array: the low
  // byte of each, then the high ones.
  constructor(machine, description, bytes) {
    this.machine = machine;
    this.programs = description.programs;
    this.buffers = description.buffers.map(size => machine.take(4 * size));
    const halves = new Uint16Array(bytes.length / 2).map((_, k, { length }) => bytes[k] | bytes[length + k] << 8);
    this.weights = description.weights.slice(0, -1).map((start, k) => {
      const length = description.weights[k + 1] - start;
      const address = machine.take(4 * length);
      const numbers = machine.view(Float32Array, address, length);
      for (let i = 0; i < length; i++) numbers[i] = fromHalf(halves[start + i]);
      return address;
    });
  }

  // given: what the program names so: addresses and whole numbers.
  run(program, given) {
    const { calls } = this.machine;
    for (const [layer, ...parts] of this.programs[program]) {
      calls[layer](...parts.map(part => typeof part === 'number' ? part : this.address(part, given)));
    }
  }

  address([kind, which, offset], given) {
    if (kind === 'buffer') return this.buffers[which] + 4 * offset;
    return kind === 'weights' ? this.weights[which] : given[which];
  }

  // Numbers of a buffer.
  read(place, length) {
    return this.machine.view(Float32Array, this.address(place), length);
  }
}

function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, bits >> 10 & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
