// Models that tasks can be put to.
export { type ApiModelOptions, apiModel } from './api.ts';
export { type NativeModelOptions, nativeModel } from './native.ts';
