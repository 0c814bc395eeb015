// The WebAssembly module of a game and its agent, and the memory that both sides write.

const PAGE = 65536;
const ARRAYS = 1 << 22;

export class Machine {
  // module: {stack, data_end}, as it was linked.
  static async load(code, module) {
    const memory = new WebAssembly.Memory({ initial: 1 + Math.ceil(module.data_end / PAGE) });
    const stack = new WebAssembly.Global({ value: 'i32', mutable: true }, module.stack);
    const compiled = await WebAssembly.compile(code);
    const arrays = { start: 0, end: 0 };
    const env = {};
    for (const { name, kind } of WebAssembly.Module.imports(compiled)) {
      env[name] = kind === 'memory' ? memory : kind === 'global' ? stack : kind === 'table'
        ? new WebAssembly.Table({ initial: 16, element: 'anyfunc' }) : /^NRT_MemInfo_alloc/.test(name)
          ? (bytes, alignment = 16) => array(memory, arrays, Number(bytes), alignment) : known(name);
    }
    const instance = await WebAssembly.instantiate(compiled, { env });
    const machine = new Machine(instance.exports, memory, module.data_end, arrays);
    if (Object.keys(env).some(name => name.startsWith('NRT'))) {
      arrays.start = arrays.end = machine.take(ARRAYS);
      arrays.limit = arrays.start + ARRAYS;
    }
    return machine;
  }

  constructor(calls, memory, end, arrays) {
    Object.assign(this, { calls, memory, end, arrays });
  }

  // Forget all arrays that the rules made: none outlives a call.
  clear() { this.arrays.end = this.arrays.start; }

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

// An array of Numba's: what it keeps of it (numba/core/runtime/nrt.cpp), then the numbers.
function array(memory, arrays, bytes, alignment) {
  const [info, data] = [arrays.end, Math.ceil((arrays.end + 40) / alignment) * alignment];
  arrays.end = Math.ceil((data + bytes) / 8) * 8;
  if (arrays.end > arrays.limit) throw new Error('The rules of this game need more memory than there is.');
  const view = new DataView(memory.buffer, info);
  view.setBigUint64(0, 1n, true);
  view.setUint32(16, data, true);
  view.setBigUint64(24, BigInt(bytes), true);
  return info;
}

function known(name) {
  const mathematics = Math[name] ?? Math[name.replace(/f$/, '')];
  if (mathematics) return mathematics;
  if (/^fmodf?$/.test(name)) return (a, b) => a % b;
  if (/^exp2f?$/.test(name)) return x => 2 ** x;
  return () => { throw new Error('The rules of this game broke off.'); };
}
