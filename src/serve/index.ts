// The door of serving: a checkpoint behind an OpenAI-compatible HTTP server.
export type { CachePlan } from './plan.ts';
export { type RunningServer, type ServeSettings, startServer } from './server.ts';
