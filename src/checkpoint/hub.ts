// Models from a Hugging Face hub, through its official client: only weights in safetensors, configuration and tokenizer files.
// Files gather in FOLDER.part and are renamed into place when all are there, so a folder in the cache is always complete; a
// download that breaks off goes on where it stopped. The token comes from HF_TOKEN and is written nowhere.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { downloadFile, fileDownloadInfo, HUB_URL, HubApiError, type ListFileEntry, listFiles } from '@huggingface/hub';
import { ConfigError, DataError, nearestName } from '../base/errors.ts';
import { explainSystemError, writeJsonAtomic } from '../base/files.ts';
import { Progress } from '../base/progress.ts';

export interface FetchOptions {
  /** Branch, tag or commit. Default main. */
  revision?: string;
  quiet?: boolean;
  /** Files of Python too, for who trusts them. Such a folder lies beside the one without. */
  code?: boolean;
}

const CODE = /^[\w-]+\.py$/;
const WANTED =
  /^(config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt|tokenizer\.model|chat_template\.(jinja|json)|README\.md|LICENSE(\.(txt|md))?|model\.safetensors(\.index\.json)?|model-\d{5}-of-\d{5}\.safetensors)$/;
const HUB_ID = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;
/** A hub id, which a branch, tag or commit may follow. */
const HUB_SPEC = /^([^@]*)@([\w./-]+)$/;
const UNREACHABLE = new Set(
  'ECONNREFUSED ENOTFOUND EAI_AGAIN ENETUNREACH EHOSTUNREACH ETIMEDOUT ECONNRESET EPROTO UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT UND_ERR_BODY_TIMEOUT UND_ERR_SOCKET CERT_HAS_EXPIRED SELF_SIGNED_CERT_IN_CHAIN DEPTH_ZERO_SELF_SIGNED_CERT UNABLE_TO_VERIFY_LEAF_SIGNATURE'.split(
    ' ',
  ),
);

/**
 * The path of a model: an existing path as it is, a hub id, or id@revision, fetched into the cache.
 * @throws ConfigError that says what was tried, with the nearest name in the folder where the path would lie
 */
export async function resolveModel(spec: string, cacheFolder: string, options: FetchOptions = {}): Promise<string> {
  if (spec.trim() === '')
    throw new ConfigError('model: expected a folder, a .gguf file or a hub id (organisation/name), found nothing.');
  if (fs.existsSync(spec)) return spec;
  const hint = neighbourHint(spec);
  const isPath = /^[.~/\\]/.test(spec) || /\.(gguf|safetensors)$/.test(spec);
  const [, id, revision] = HUB_SPEC.exec(spec) ?? [spec, spec, options.revision];
  if (isPath || !HUB_ID.test(id!))
    throw new ConfigError(
      `${spec}: no such file or folder${isPath ? '' : ', and not a hub id, which has the form organisation/name or organisation/name@revision'}.${hint}` +
        (spec.startsWith('~') ? ' "~" is not expanded here: write the full path.' : ''),
    );
  try {
    return await fetchModel(id!, cacheFolder, { ...options, revision });
  } catch (error) {
    if (error instanceof ConfigError && hint) throw new ConfigError(`${error.message}${hint}`);
    throw error;
  }
}

/** "Did you mean": the entry of the would-be parent folder with the nearest name. */
function neighbourHint(spec: string): string {
  const parent = path.dirname(spec);
  let names: string[];
  try {
    names = fs.readdirSync(parent);
  } catch {
    return '';
  }
  const near = nearestName(path.basename(spec), names);
  return near ? ` Did you mean ${path.join(parent, near)}?` : '';
}

/**
 * Fetches a model into `cacheFolder` unless it is there already (then without any network) and returns its folder.
 * @throws ConfigError for an unknown or gated model and for a hub that cannot be reached, DataError for a damaged download
 */
export async function fetchModel(id: string, cacheFolder: string, options: FetchOptions = {}): Promise<string> {
  if (!HUB_ID.test(id)) throw new ConfigError(`${id}: expected a hub id of the form organisation/name.`);
  const revision = options.revision ?? 'main';
  const ofRevision = revision === 'main' ? '' : `@${revision.replace(/[^\w.-]/g, '_')}`;
  const suffix = `${ofRevision}${options.code ? '+code' : ''}`;
  const folder = path.join(cacheFolder, 'models', `${id.replace('/', '--')}${suffix}`);
  if (fs.existsSync(folder)) return folder;
  const hub = new Hub(id, revision);
  const files = await hub.list(options.code ?? false);
  const part = `${folder}.part`;
  try {
    fs.mkdirSync(part, { recursive: true });
  } catch (error) {
    throw explainSystemError(error, part, 'preparing the download');
  }
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const progress = new Progress({
    label: `fetching ${id}`,
    total,
    unit: 'bytes',
    ...(options.quiet ? { quiet: true } : {}),
  });
  let done = 0;
  progress.resumeAt(files.reduce((sum, file) => sum + present(part, file), 0));
  for (const file of files) {
    await hub.download(file, part, (bytes) => progress.update(done + bytes));
    done += file.size;
  }
  writeJsonAtomic(path.join(part, 'continuo-source.json'), {
    id,
    revision,
    files: files.map(({ path: name, size, oid }) => ({ name, size, oid })),
  });
  try {
    fs.renameSync(part, folder);
  } catch (error) {
    // Another process may have finished the same download first.
    if (!fs.existsSync(folder)) throw explainSystemError(error, folder, 'completing the download');
  }
  progress.update(total);
  progress.finish();
  return folder;
}

/** Bytes of a file that are there already, whole or in part. */
function present(part: string, file: ListFileEntry): number {
  for (const name of [file.path, `${file.path}.incomplete`]) {
    const stat = fs.statSync(path.join(part, name), { throwIfNoEntry: false });
    if (stat) return Math.min(stat.size, file.size);
  }
  return 0;
}

/** One model on one hub; words the client's errors for the user. */
class Hub {
  private readonly id: string;
  private readonly url: string;
  /** The hub has answered once, so that a later failure is a connection that broke. */
  private reached = false;
  private readonly common: {
    repo: { type: 'model'; name: string };
    revision: string;
    hubUrl: string;
    accessToken?: string;
  };

  constructor(id: string, revision: string) {
    const token = process.env.HF_TOKEN?.trim();
    if (token && !token.startsWith('hf_'))
      throw new ConfigError('HF_TOKEN: expected a token that begins with "hf_". Correct or unset it.');
    this.id = id;
    this.url = (process.env.HF_ENDPOINT?.trim() || HUB_URL).replace(/\/+$/, '');
    if (!URL.canParse(this.url))
      throw new ConfigError(`HF_ENDPOINT: expected an address such as ${HUB_URL}, found ${this.url}.`);
    this.common = {
      repo: { type: 'model', name: id },
      revision,
      hubUrl: this.url,
      ...(token ? { accessToken: token } : {}),
    };
    if (/^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? '')) throw this.offline('HF_HUB_OFFLINE is set');
  }

  /** The files to fetch; weights last. */
  async list(withCode: boolean): Promise<ListFileEntry[]> {
    const all: ListFileEntry[] = [];
    await this.explain('listing its files', async () => {
      for await (const entry of listFiles({ ...this.common, recursive: false }))
        if (entry.type === 'file') all.push(entry);
    });
    const names = new Set(all.map((entry) => entry.path));
    const single = names.has('model.safetensors');
    const files = all.filter(
      ({ path: name }) =>
        (WANTED.test(name) || (withCode && CODE.test(name))) &&
        !(single && /^model(-\d|\.safetensors\.index)/.test(name)),
    );
    if (!names.has('config.json') || !files.some((entry) => entry.path.endsWith('.safetensors')))
      throw this.unusable([...names]);
    return files.sort((a, b) => a.size - b.size);
  }

  private unusable(names: string[]): ConfigError {
    const gguf = names.filter((name) => name.endsWith('.gguf'));
    if (gguf.length > 0)
      return new ConfigError(
        `${this.id}: holds GGUF files only (${gguf.slice(0, 3).join(', ')}). Fetch one with \`hf download ${this.id} ${gguf[0]}\` and give its path.`,
      );
    if (names.some((name) => name.endsWith('.bin') || name.endsWith('.pth')))
      return new ConfigError(
        `${this.id}: its weights are pickles, which can run code when read and are never loaded here. Look for a safetensors revision, or download and convert it with transformers (from_pretrained, save_pretrained) and give the folder.`,
      );
    return new ConfigError(
      `${this.id}: is not a language model in safetensors: expected config.json and model.safetensors, found ${names.slice(0, 6).join(', ') || 'nothing'}.`,
    );
  }

  /** Fetches one file into `part`, going on after what an earlier attempt left; checks size and, for large files, SHA-256. */
  async download(file: ListFileEntry, part: string, onBytes: (bytes: number) => void): Promise<void> {
    const target = path.join(part, file.path);
    if (fs.existsSync(target)) return;
    const incomplete = `${target}.incomplete`;
    let done = fs.statSync(incomplete, { throwIfNoEntry: false })?.size ?? 0;
    if (done > file.size) {
      fs.rmSync(incomplete);
      done = 0;
    }
    await this.explain(`fetching ${file.path}`, async () => {
      if (done === file.size && file.size > 0) return;
      const downloadInfo = await fileDownloadInfo({ ...this.common, path: file.path });
      const blob = downloadInfo && (await downloadFile({ ...this.common, path: file.path, downloadInfo }));
      if (!blob) throw new ConfigError(`${this.id}: ${file.path} is listed but cannot be fetched. Try again later.`);
      const out = fs.openSync(incomplete, 'a');
      try {
        for await (const chunk of done > 0 ? blob.slice(done).stream() : blob.stream()) {
          for (let at = 0; at < chunk.byteLength; ) at += fs.writeSync(out, chunk, at);
          done += chunk.byteLength;
          onBytes(done);
        }
      } finally {
        fs.closeSync(out);
      }
    });
    await this.verify(file, incomplete);
    fs.renameSync(incomplete, target);
  }

  private async verify(file: ListFileEntry, incomplete: string): Promise<void> {
    const size = fs.statSync(incomplete, { throwIfNoEntry: false })?.size ?? 0;
    if (size < file.size) throw this.brokeOff(`after ${size} of ${file.size} bytes`, `fetching ${file.path}`);
    if (size === file.size && (!file.lfs || (await digest(incomplete)) === file.lfs.oid)) return;
    fs.rmSync(incomplete);
    throw new DataError(
      incomplete,
      `the download does not match what the hub announced (${file.size} bytes${file.lfs ? `, SHA-256 ${file.lfs.oid}` : ''}); it was removed. Run the same command again.`,
    );
  }

  private async explain(doing: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      throw this.reword(error, doing);
    }
    this.reached = true;
  }

  private reword(error: unknown, doing: string): unknown {
    if (error instanceof HubApiError) return this.refused(error, doing);
    // fetch reports a connection that broke off as a TypeError, and the client aborts its streams with a bare text.
    const code =
      networkCode(error) ??
      (error instanceof TypeError ? error.message : typeof error === 'string' ? error : undefined);
    if (code !== undefined) return this.reached ? this.brokeOff(code, doing) : this.offline(code);
    return explainSystemError(error, this.id, doing);
  }

  private refused(error: HubApiError, doing: string): ConfigError {
    const hasToken = this.common.accessToken !== undefined;
    const page = `${this.url}/${this.id}`;
    if (error.statusCode === 403 || /gated|restricted|awaiting/i.test(error.message))
      return new ConfigError(
        `${this.id}: is gated: its owner asks for consent first. Accept the terms at ${page}, ` +
          (hasToken
            ? 'with the account whose token HF_TOKEN holds, and run again.'
            : 'then put an access token of that account into HF_TOKEN and run again.'),
      );
    if (error.statusCode === 401 || error.statusCode === 404)
      return new ConfigError(
        `${this.id}: ${this.url} has no such model${this.common.revision === 'main' ? '' : ` at revision ${this.common.revision}`}, or it is private. Check the spelling (capitals count)` +
          (hasToken
            ? ' and that the token in HF_TOKEN may read it.'
            : '; for a private model put an access token into HF_TOKEN.'),
      );
    return new ConfigError(
      `${this.id}: ${this.url} answered with status ${error.statusCode} while ${doing}. Try again later; what was fetched is kept.`,
    );
  }

  private brokeOff(reason: string, doing: string): ConfigError {
    return new ConfigError(
      `${this.id}: the connection to ${this.url} broke (${reason}) while ${doing}. Run the same command again: it goes on where it stopped.`,
    );
  }

  private offline(reason: string): ConfigError {
    return new ConfigError(
      `${this.id}: this machine cannot reach ${this.url} (${reason}). If it is offline, run \`hf download ${this.id} --local-dir FOLDER\` ` +
        '(older: huggingface-cli) where there is a network, copy FOLDER here and give its path as the model.',
    );
  }
}

/** The network's error code, however deep fetch has wrapped it. */
function networkCode(error: unknown): string | undefined {
  for (
    let inner = error as { code?: unknown; cause?: unknown; errors?: unknown[] } | undefined, depth = 0;
    inner && depth < 5;
    depth++
  ) {
    if (typeof inner.code === 'string' && UNREACHABLE.has(inner.code)) return inner.code;
    inner = (inner.cause ?? inner.errors?.[0]) as typeof inner;
  }
  return undefined;
}

async function digest(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of fs.createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
