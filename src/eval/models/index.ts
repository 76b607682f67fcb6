// Models that tasks can be put to.
export { type NativeModelOptions, nativeModel } from './native.ts';
