// A task with its documents: what is asked of a model about each, and how its answers score. The rules are lm-evaluation-harness's
// (ConfigurableTask of lm_eval/api/task.py, 0.4.13), so that every context and every score is the same.
import { isDeepStrictEqual } from 'node:util';
import { ConfigError, DataError, isUserError } from '../../base/errors.ts';
import { TemplateError } from '../python/jinja.ts';
import { literalEval } from '../python/literal.ts';
import { PythonRandom } from '../python/random.ts';
import { isDigits, isSpace, PyFloat, str } from '../python/text.ts';
import type { RunCode } from '../twins/index.ts';
import type { ChatMessage } from '../types.ts';
import { type DataOptions, type Dataset, type Documents, openDataset } from './dataset.ts';
import type { Doc, Field, TaskDefinition } from './definition.ts';
import { type ScoreText, scoreChoice } from './metrics.ts';

/** What is asked: a likelihood, a rolling likelihood, or a text. */
export type Request =
  | { kind: 'likelihood'; context: string; continuation: string }
  | { kind: 'rolling'; text: string }
  | { kind: 'generate'; prompt: string };

export interface PromptOptions {
  /** Instead of the task's own number, unless that is 0. */
  numFewShot?: number;
  /** Of the draw of few-shot examples. */
  seed: number;
  systemInstruction?: string;
  /** Set where prompts are conversations. */
  renderChat?: (messages: readonly ChatMessage[]) => string;
  fewshotAsMultiturn: boolean;
  /** Tokens of a text: some data sets are made to a length. */
  countTokens?: (text: string) => number;
  /** Given where the user allows generated programs to be run. */
  runCode?: RunCode;
}

/** A turn; as plain text its delimiter follows it. */
interface Turn extends ChatMessage {
  delimiter: string;
}

type Target = string | number | unknown[];

export class Task {
  readonly definition: TaskDefinition;
  readonly docs: readonly Doc[];
  readonly numFewShot: number;
  private readonly floats: ReadonlySet<string>;
  private readonly features: ReadonlySet<string>;
  private readonly hasSeveralInputs: boolean;
  private readonly hasSeveralTargets: boolean;
  private readonly draw: (doc: Doc) => readonly Doc[];
  private readonly options: PromptOptions;

  private constructor(
    definition: TaskDefinition,
    { docs, floatColumns }: Documents,
    examples: readonly Doc[],
    options: PromptOptions,
  ) {
    this.definition = definition;
    this.docs = docs;
    this.options = options;
    this.floats = new Set(floatColumns);
    this.features = new Set(Object.keys(docs[0]));
    const { numFewShot } = definition;
    this.numFewShot = options.numFewShot === undefined || numFewShot === 0 ? (numFewShot ?? 0) : options.numFewShot;
    this.draw = this.sampler(examples);
    // The first document says what kind of task it is.
    [this.hasSeveralInputs, this.hasSeveralTargets] = this.at(0, () => [
      definition.choice !== undefined && typeof this.text(docs[0]) === 'number',
      Array.isArray(this.target(docs[0])),
    ]);
  }

  /** Reads the documents. @throws ConfigError, DataError */
  static async open(definition: TaskDefinition, prompts: PromptOptions, data: DataOptions): Promise<Task> {
    const { testSplit, validationSplit, trainingSplit, fewShot, processDocs, name, file } = definition;
    const where = `${file}: task ${name}`;
    if (definition.runsCode && !prompts.runCode)
      throw new ConfigError(`${where}: runs programs that the model writes. Allow it with --run-generated-code.`);
    const dataset = await openData(definition, prompts, where, data);
    const load = async (split: string, process = processDocs): Promise<Documents> => {
      const loaded = await dataset.load(split);
      return process ? { ...loaded, docs: (await process([...loaded.docs])) as Doc[] } : loaded;
    };
    const evaluated = testSplit ?? validationSplit;
    if (evaluated === undefined)
      throw new ConfigError(
        `${where}: names neither a test_split nor a validation_split, so there is nothing to score.`,
      );
    const documents = await load(evaluated);
    if (documents.docs.length === 0) throw new ConfigError(`${where}: the split "${evaluated}" is empty.`);
    const needsExamples = (prompts.numFewShot ?? definition.numFewShot ?? 0) > 0 && definition.numFewShot !== 0;
    let examples: readonly Doc[] = [];
    if (needsExamples) {
      const { split: own, samples, processDocs: process } = fewShot;
      if (own !== undefined) examples = (await load(own, process)).docs;
      else if (samples) examples = typeof samples === 'function' ? ((await samples()) as Doc[]) : samples;
      else examples = (await load(trainingSplit ?? evaluatedFirst(definition))).docs;
    }
    return new Task(definition, documents, examples, prompts);
  }

  /** Requests about a document; to be called for documents in order, since each draws its few-shot examples. */
  requests(index: number): Request[] {
    return this.at(index, () => this.ask(this.docs[index]));
  }

  targetOf(index: number): Target {
    return this.at(index, () => this.target(this.docs[index]));
  }

  /** Scores of a document by metric, from its requests' answers after a filter. */
  async score(index: number, answers: readonly unknown[]): Promise<Record<string, unknown>> {
    try {
      return await this.scoresOf(this.docs[index], answers);
    } catch (error) {
      throw this.placed(index, error);
    }
  }

  /** Does something about a document; what fails says which. */
  private at<T>(index: number, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.placed(index, error);
    }
  }

  private placed(index: number, error: unknown): unknown {
    if (error instanceof ConfigError || (isUserError(error) && !(error instanceof DataError))) return error;
    const { name, file } = this.definition;
    const message = (error as Error).message.replace(/\.$/, '');
    const isDefect = error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
    return new DataError(file, `task ${name}, document ${index}: ${isDefect ? 'internal: ' : ''}${message}.`);
  }

  private sampler(examples: readonly Doc[]): (doc: Doc) => readonly Doc[] {
    const { definition, numFewShot: n, options } = this;
    const { fewShot, testSplit, name, file } = definition;
    const tooFew = (): never => {
      throw new ConfigError(
        `${file}: task ${name}: ${n} few-shot examples wanted, ${examples.length} are there. Lower --num-fewshot.`,
      );
    };
    if (n === 0) return () => [];
    // lm-evaluation-harness leaves the document out where both splits have one name, and also where neither is given.
    const leavesOut = fewShot.split === testSplit;
    const others = (doc: Doc, list: readonly Doc[]): Doc[] => {
      const result: Doc[] = [];
      for (const other of list) {
        if (leavesOut && isDeepStrictEqual(other, doc)) continue;
        result.push(other);
        if (result.length === n) break;
      }
      return result;
    };
    if (fewShot.sampler === 'first_n')
      return (doc) => {
        const taken = others(doc, examples);
        return taken.length < n ? tooFew() : taken;
      };
    const random = new PythonRandom(options.seed);
    return (doc) => {
      const wanted = leavesOut ? n + 1 : n;
      if (examples.length < wanted) tooFew();
      const drawn = others(doc, random.sample(examples, wanted));
      if (drawn.length === n) return drawn;
      // Copies of the document were among them.
      const rest = examples.filter((other) => !isDeepStrictEqual(other, doc));
      return rest.length < n ? tooFew() : random.sample(rest, n);
    };
  }

  private render(field: Field & { kind: 'text' }, doc: Doc): string {
    if (this.floats.size === 0) return field.template().render(doc);
    const variables: Doc = { ...doc };
    for (const column of this.floats)
      if (typeof variables[column] === 'number') variables[column] = new PyFloat(variables[column]);
    return field.template().render(variables);
  }

  /** A field that gives text: of the document, of a template, or of a twin. */
  private plain(field: Field | undefined, doc: Doc): string {
    if (!field) return '';
    if (field.kind === 'constant') return str(field.value);
    if (field.kind === 'twin') return str(field.twin(doc));
    return Object.hasOwn(doc, field.text) ? str(doc[field.text]) : this.render(field, doc);
  }

  private text(doc: Doc, field: Field = this.definition.text): string | number {
    if (field.kind === 'constant') return field.value as number;
    if (field.kind === 'twin') return field.twin(doc) as string | number;
    if (this.features.has(field.text)) return wholeOrText(doc[field.text]);
    const text = this.render(field, doc);
    return this.definition.choice && isDigits(text) ? Number(text) : text;
  }

  private target(doc: Doc, field: Field = this.definition.target): Target {
    if (field.kind === 'constant') return field.value as Target;
    if (field.kind === 'twin') return field.twin(doc) as Target;
    if (this.features.has(field.text)) return doc[field.text] as Target;
    const text = this.render(field, doc);
    if (this.definition.choice && isDigits(text)) return Number(text);
    if (text.length < 2 || text[0] !== '[' || text.at(-1) !== ']') return text;
    try {
      return literalEval(text) as Target;
    } catch {
      return text;
    }
  }

  private choices(doc: Doc, field = this.definition.choice): string[] {
    const value =
      field === undefined
        ? undefined
        : field.kind === 'constant'
          ? field.value
          : field.kind === 'twin'
            ? field.twin(doc)
            : this.features.has(field.text)
              ? doc[field.text]
              : literalEval(this.render(field, doc));
    if (Array.isArray(value)) return value.map(str);
    throw new TemplateError(`doc_to_choice: a list of choices expected, found ${JSON.stringify(value)}`);
  }

  /** The contexts of a document: one, or one a choice where choices are inputs. */
  private contexts(doc: Doc): string[] {
    const { definition, options, hasSeveralInputs } = this;
    const { fewShot } = definition;
    const turns: Turn[] = [];
    const system = delimit(
      options.systemInstruction,
      this.plain(definition.description, doc),
      definition.fewshotDelimiter,
    );
    if (system !== '') turns.push({ role: 'system', content: system, delimiter: '' });
    for (const example of this.draw(doc)) {
      const choices = fewShot.choice ? this.choices(example, fewShot.choice) : undefined;
      const question = this.text(example, fewShot.text);
      turns.push(
        ...this.exchange({
          question: hasSeveralInputs ? choices![Number(question)] : question,
          choices: hasSeveralInputs ? undefined : choices,
          answer: this.target(example, fewShot.target),
          genPrefix: this.plain(fewShot.genPrefix, example),
          targetDelimiter: fewShot.targetDelimiter,
          fewshotDelimiter: fewShot.fewshotDelimiter,
        }),
      );
    }
    const genPrefix = this.plain(definition.genPrefix, doc);
    const questions = hasSeveralInputs ? this.choices(doc) : [this.text(doc)];
    const targetDelimiter = hasSeveralInputs ? '' : definition.targetDelimiter;
    return questions.map((question) =>
      this.write([...turns, ...this.exchange({ question, genPrefix, targetDelimiter, fewshotDelimiter: '' })]),
    );
  }

  private exchange(given: {
    question: string | number;
    choices?: readonly string[];
    answer?: Target;
    genPrefix: string;
    targetDelimiter: string;
    fewshotDelimiter: string;
  }): Turn[] {
    const { question, choices, answer, genPrefix, targetDelimiter, fewshotDelimiter } = given;
    if (typeof question !== 'string') throw new TemplateError(`doc_to_text: a text expected, found ${str(question)}`);
    const hasAnswer = answer !== undefined && answer !== null && answer !== '';
    const isDelimited = genPrefix === '' ? hasAnswer : needsDelimiter(question, genPrefix);
    const user: Turn = { role: 'user', content: question, delimiter: isDelimited ? targetDelimiter : '' };
    if (!hasAnswer) return genPrefix === '' ? [user] : [user, { role: 'assistant', content: genPrefix, delimiter: '' }];
    const index = typeof answer === 'boolean' ? Number(answer) : answer;
    const text = choices && typeof index === 'number' ? choices.at(index) : Array.isArray(index) ? index[0] : index;
    if (typeof text !== 'string')
      throw new TemplateError(`doc_to_target: a few-shot answer must be a text, found ${str(answer)}`);
    return [user, { role: 'assistant', content: delimit(genPrefix, text, ' '), delimiter: fewshotDelimiter }];
  }

  private write(turns: readonly Turn[]): string {
    const { renderChat, fewshotAsMultiturn } = this.options;
    if (!renderChat) return turns.map(({ content, delimiter }) => content + delimiter).join('');
    const messages = fewshotAsMultiturn ? turns : singleTurn(turns);
    return renderChat(messages.map(({ role, content }) => ({ role, content })));
  }

  private ask(doc: Doc): Request[] {
    const { definition, hasSeveralInputs, options } = this;
    // Also where they are not used, so that the few-shot draws are the same.
    const contexts = this.contexts(doc);
    switch (definition.outputType) {
      case 'loglikelihood':
        return [{ kind: 'likelihood', context: contexts[0], continuation: str(this.target(doc)) }];
      case 'loglikelihood_rolling':
        return [{ kind: 'rolling', text: str(this.target(doc)) }];
      case 'generate_until':
        return [{ kind: 'generate', prompt: contexts[0] }];
      case 'multiple_choice': {
        const prefix = definition.genPrefix?.kind === 'text' ? definition.genPrefix.text : '';
        const delimiter =
          options.renderChat && (prefix === '' || isSpace(prefix.at(-1)!)) ? '' : definition.targetDelimiter;
        const choices = this.choices(doc);
        const likelihood = (context: string, continuation: string): Request => ({
          kind: 'likelihood',
          context,
          continuation: delimiter + continuation,
        });
        const asked = hasSeveralInputs
          ? contexts.map((context) => likelihood(context, str(this.target(doc))))
          : choices.map((choice) => likelihood(contexts[0], choice));
        return this.wantsUnconditional() ? [...asked, ...choices.map((choice) => likelihood('', choice))] : asked;
      }
      default:
        return definition.outputType satisfies never;
    }
  }

  private wantsUnconditional(): boolean {
    return this.definition.metrics.some(({ name }) => name === 'acc_mutual_info');
  }

  private async scoresOf(doc: Doc, answers: readonly unknown[]): Promise<Record<string, unknown>> {
    const { definition } = this;
    if (definition.processResults) return (await definition.processResults(doc, answers)) as Record<string, unknown>;
    switch (definition.outputType) {
      case 'loglikelihood': {
        const [value, isGreedy] = answers[0] as [number, boolean];
        return this.wanted({ perplexity: value, acc: Number(isGreedy) });
      }
      case 'loglikelihood_rolling': {
        const text = str(this.target(doc));
        const numWords = text.split(WHITE_RUNS).length;
        const numBytes = Buffer.byteLength(text);
        const value = answers[0] as number;
        return this.wanted({
          word_perplexity: [value, numWords],
          byte_perplexity: [value, numBytes],
          bits_per_byte: [value, numBytes],
        });
      }
      case 'multiple_choice':
        return this.wanted(this.choiceScores(doc, answers as [number, boolean][]));
      case 'generate_until':
        return this.textScores(doc, answers[0]);
      default:
        return definition.outputType satisfies never;
    }
  }

  private wanted(scores: Record<string, unknown>): Record<string, unknown> {
    return Object.fromEntries(
      this.definition.metrics.flatMap(({ name }) => (Object.hasOwn(scores, name) ? [[name, scores[name]]] : [])),
    );
  }

  private choiceScores(doc: Doc, answers: readonly [number, boolean][]): Record<string, unknown> {
    const choices = this.choices(doc);
    const values = answers.map(([value]) => value);
    return scoreChoice({
      choices,
      logLikelihoods: values.slice(0, choices.length),
      isGreedy: answers.map(([, isGreedy]) => isGreedy),
      unconditional: this.wantsUnconditional() ? values.slice(choices.length) : undefined,
      gold: this.hasSeveralInputs ? this.text(doc) : this.target(doc),
      hasSeveralTargets: this.hasSeveralTargets,
    });
  }

  private async textScores(doc: Doc, answer: unknown): Promise<Record<string, unknown>> {
    const { definition, hasSeveralTargets } = this;
    const scores: Record<string, unknown> = {};
    const gold = this.gold(doc, answer);
    for (const { name, scoreText } of definition.metrics) {
      if (!scoreText) continue;
      const value = hasSeveralTargets
        ? await this.bestScore(name, scoreText, gold, answer)
        : await scoreText([gold], [answer], this.options.runCode);
      if (isRecord(value)) Object.assign(scores, value);
      else scores[name] = value;
    }
    return scores;
  }

  /** The right answer, as a text where it is compared with one. */
  private gold(doc: Doc, answer: unknown): unknown {
    const gold = this.target(doc);
    if (this.definition.choice) {
      const choices = this.choices(doc);
      return typeof gold === 'number' || typeof gold === 'boolean' ? choices.at(Number(gold)) : gold;
    }
    if (this.hasSeveralTargets) return Array.isArray(gold) ? gold : Array.from(str(gold));
    return typeof answer === 'string' ? str(gold) : gold;
  }

  /** 1 where any of the right answers gives more than 0. */
  private async bestScore(name: string, scoreText: ScoreText, gold: unknown, answer: unknown): Promise<number> {
    for (const one of Array.isArray(gold) ? gold : [gold]) {
      const value = await scoreText([one], [answer], this.options.runCode);
      if (isRecord(value) ? value[name] : value) return 1;
    }
    return 0;
  }
}

const WHITE_RUNS = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

const evaluatedFirst = ({ validationSplit, testSplit }: TaskDefinition): string => (validationSplit ?? testSplit)!;

async function openData(
  definition: TaskDefinition,
  { countTokens }: PromptOptions,
  where: string,
  options: DataOptions,
): Promise<Dataset> {
  const { dataset, customDataset, metadata } = definition;
  if (dataset && !customDataset) return openDataset(dataset, where, options);
  if (!countTokens)
    throw new ConfigError(`${where}: its data are made to lengths in tokens, which this model does not tell.`);
  const splits = (await customDataset!({ ...metadata, ...dataset?.kwargs, countTokens })) as Record<string, Doc[]>;
  return {
    splits: Object.keys(splits),
    load: async (split) => ({ docs: splits[split] ?? [], floatColumns: [] }),
  };
}

function wholeOrText(value: unknown): string | number {
  return typeof value === 'number' ? value : typeof value === 'boolean' ? Number(value) : str(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Two texts with a delimiter between them where neither has white space there. */
function delimit(before: string | undefined, after: string, delimiter: string): string {
  if (!before) return after;
  if (after === '') return before;
  return needsDelimiter(before, after) ? before + delimiter + after : before + after;
}

function needsDelimiter(before: string, after: string): boolean {
  return before !== '' && !isSpace(before.at(-1)!) && !isSpace(after[0]);
}

/** All that the user and the examples say as one turn of the user's; a beginning of the answer stays the assistant's. */
function singleTurn(turns: readonly Turn[]): Turn[] {
  const [first, ...rest] = turns;
  const system = first.role === 'system' ? [first] : [];
  const spoken = system.length > 0 ? rest : turns;
  const last = spoken.at(-1)!;
  const answer = last.role === 'assistant' ? [last] : [];
  const joined = answer.length > 0 ? spoken.slice(0, -1) : spoken;
  const content = joined
    .map((turn, i) => (i === joined.length - 1 ? turn.content : turn.content + turn.delimiter))
    .join('');
  return [...system, { role: 'user', content, delimiter: '' }, ...answer];
}
