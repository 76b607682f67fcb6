// Counters of a server in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).
import type { Usage } from './generation.ts';
import type { Load } from './scheduler.ts';

/** Span over which the current speed is measured. */
const SPEED_MS = 10_000;

export class Metrics {
  private readonly requests = new Map<string, number>();
  private promptTokens = 0;
  private generatedTokens = 0;
  private readonly recent: { at: number; tokens: number }[] = [];

  countRequest(path: string, status: number): void {
    const key = `path="${path}",status="${status}"`;
    this.requests.set(key, (this.requests.get(key) ?? 0) + 1);
  }

  countTokens({ prompt_tokens, completion_tokens }: Usage): void {
    this.promptTokens += prompt_tokens;
    this.generatedTokens += completion_tokens;
    this.recent.push({ at: Date.now(), tokens: completion_tokens });
    this.forget();
  }

  /** @param numSlotTokens what the key-value cache has room for */
  text(load: Load, numSlotTokens: number): string {
    this.forget();
    const speed = (this.recent.reduce((sum, { tokens }) => sum + tokens, 0) * 1000) / SPEED_MS;
    const metric = (name: string, type: string, help: string, values: [string, number][]) =>
      [
        `# HELP continuo_${name} ${help}`,
        `# TYPE continuo_${name} ${type}`,
        ...values.map(([labels, value]) => `continuo_${name}${labels && `{${labels}}`} ${value}`),
      ].join('\n');
    return `${[
      metric('requests_total', 'counter', 'Requests answered.', [...this.requests]),
      metric('prompt_tokens_total', 'counter', 'Tokens of prompts of finished requests.', [['', this.promptTokens]]),
      metric('generated_tokens_total', 'counter', 'Tokens generated for finished requests.', [
        ['', this.generatedTokens],
      ]),
      metric('generated_tokens_per_second', 'gauge', 'Tokens of requests that finished in the last 10 s, a second.', [
        ['', speed],
      ]),
      metric('sequences_running', 'gauge', 'Sequences in the batch.', [['', load.numRunning]]),
      metric('sequences_waiting', 'gauge', 'Sequences that wait for a place in the batch.', [['', load.numWaiting]]),
      metric('cache_tokens', 'gauge', 'Tokens in the key-value cache.', [['', load.numCached]]),
      metric('cache_tokens_max', 'gauge', 'Tokens that the key-value cache has room for.', [['', numSlotTokens]]),
    ].join('\n')}\n`;
  }

  private forget(): void {
    while (this.recent.length > 0 && this.recent[0]!.at < Date.now() - SPEED_MS) this.recent.shift();
  }
}
