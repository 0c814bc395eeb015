// The WebAssembly module of a game and its agent, and the memory that both sides write.

const PAGE = 65536;

export class Machine {
  // module: {stack, data_end}, as it was linked.
  static async load(code, module) {
    const memory = new WebAssembly.Memory({ initial: 1 + Math.ceil(module.data_end / PAGE) });
    const stack = new WebAssembly.Global({ value: 'i32', mutable: true }, module.stack);
    const compiled = await WebAssembly.compile(code);
    const env = {};
    for (const { name, kind } of WebAssembly.Module.imports(compiled)) {
      env[name] = kind === 'memory' ? memory : kind === 'global' ? stack : kind === 'table'
        ? new WebAssembly.Table({ initial: 16, element: 'anyfunc' }) : mathematics(name);
    }
    const instance = await WebAssembly.instantiate(compiled, { env });
    return new Machine(instance.exports, memory, module.data_end);
  }

  constructor(calls, memory, end) {
    Object.assign(this, { calls, memory, end });
  }

  // The address of so many bytes, which stay ours and are 0.
  take(bytes) {
    const start = Math.ceil(this.end / 16) * 16;
    this.end = start + bytes;
    const missing = this.end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return start;
  }

  // Memory as numbers of a type; good until more of it is taken.
  view(Type, address, length) {
    return new Type(this.memory.buffer, address, length);
  }
}

function mathematics(name) {
  const known = Math[name] ?? Math[name.replace(/f$/, '')];
  if (known) return known;
  if (/^fmodf?$/.test(name)) return (a, b) => a % b;
  if (/^exp2f?$/.test(name)) return x => 2 ** x;
  return () => { throw new Error('The rules of this game broke off.'); };
}
