// One answer as it grows: tokens in, certain text and its tokens' log-probabilities out.
import { type FinishReason, StopTexts, type TokenLogprob } from '../nn/index.ts';
import { TextStream, type Tokenizer } from '../tokenizer/index.ts';

export interface LoggedToken extends TokenLogprob {
  /** Characters (code points) of the answer before it. */
  offset: number;
}

export interface Delta {
  text: string;
  tokens: LoggedToken[];
  finished?: FinishReason;
}

export class Answer {
  private readonly stream: TextStream;
  private readonly stops: StopTexts;
  /** Characters decoded, and handed out; between them stands what may begin a stop text. */
  private numDecoded = 0;
  private numGiven = 0;
  private pending: LoggedToken[] = [];
  numTokens = 0;
  finished: FinishReason | undefined;

  /** @throws ConfigError for an empty stop text */
  constructor(tokenizer: Tokenizer, prompt: Int32Array, stops: readonly string[]) {
    this.stream = new TextStream(tokenizer, prompt);
    this.stops = new StopTexts(stops);
  }

  push(token: number, logprob: TokenLogprob | undefined): Delta {
    this.numTokens++;
    if (logprob) this.pending.push({ ...logprob, offset: this.numDecoded });
    return this.give(this.stream.push(token));
  }

  /** @param stopped the token that ended it, where one did */
  end(reason: FinishReason, stopped: TokenLogprob | undefined): Delta {
    const rest = this.give(this.stream.end());
    if (this.finished) return rest;
    if (stopped) this.pending.push({ ...stopped, offset: this.numDecoded });
    if (reason === 'stop') this.numTokens++;
    this.finished = reason;
    const held = this.stops.end();
    const tokens = this.pending.splice(0);
    return { text: rest.text + held, tokens: [...rest.tokens, ...tokens], finished: reason };
  }

  private give(decoded: string): Delta {
    this.numDecoded += countCharacters(decoded);
    const text = this.stops.push(decoded);
    this.numGiven += countCharacters(text);
    if (this.stops.found) this.finished = 'stop';
    // A token goes out with the first of its text; one that only completes nothing yet, with the next.
    const isGiven = ({ offset }: LoggedToken) => offset < this.numGiven;
    const tokens = this.pending.filter(isGiven);
    this.pending = this.stops.found ? [] : this.pending.filter((token) => !isGiven(token));
    return { text, tokens, finished: this.finished };
  }
}

export function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
