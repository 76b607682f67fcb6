// Conversations in JSON records, in the forms that are usual: messages with role and content, ShareGPT's from and value, and pairs of
// question and answer. Not here: how a model wants them written (the tokenizer layer).
export const ROLES = ['system', 'user', 'assistant', 'tool'] as const;

export interface Message {
  role: (typeof ROLES)[number];
  content: string;
}

/** Fields that hold a list of messages. */
export const MESSAGE_FIELDS = ['messages', 'conversations'] as const;
/** Names of a question, of what belongs to it, and of its answer, in the order in which they are looked for. */
const PAIRS: readonly { question: string; input?: string; answer: string }[] = [
  { question: 'prompt', answer: 'completion' },
  { question: 'question', answer: 'answer' },
  { question: 'instruction', input: 'input', answer: 'output' },
];

const SPEAKERS: Readonly<Record<string, Message['role']>> = {
  ...Object.fromEntries(ROLES.map((role) => [role, role])),
  human: 'user',
  gpt: 'assistant',
  model: 'assistant',
  bot: 'assistant',
};

/** The record's conversation; undefined where it has none of these forms. */
export function conversationOf(record: Record<string, unknown>): Message[] | { reason: string } | undefined {
  const field = MESSAGE_FIELDS.find((name) => Object.hasOwn(record, name));
  if (field) return messagesOf(record[field], field);
  for (const { question, input, answer } of PAIRS) {
    const [asked, answered] = [record[question], record[answer]];
    if (typeof asked !== 'string' || typeof answered !== 'string') continue;
    const more = input ? record[input] : undefined;
    const content = typeof more === 'string' && more.trim() !== '' ? `${asked}\n\n${more}` : asked;
    return [
      { role: 'user', content },
      { role: 'assistant', content: answered },
    ];
  }
  return undefined;
}

/** A list of messages as it stands in a record. */
export function messagesOf(value: unknown, field: string): Message[] | { reason: string } {
  if (!Array.isArray(value) || value.length === 0)
    return { reason: `field "${field}" is not a list of messages, or an empty one` };
  const messages: Message[] = [];
  for (const [i, item] of value.entries()) {
    const { role, from, content, value: said } = (item ?? {}) as Record<string, unknown>;
    const speaker = SPEAKERS[String(role ?? from)];
    const text = content ?? said;
    if (!speaker)
      return {
        reason: `message ${i + 1} of "${field}" has the role ${JSON.stringify(role ?? from ?? null)}, expected one of ${ROLES.join(', ')}`,
      };
    if (typeof text !== 'string') return { reason: `message ${i + 1} of "${field}" has no text` };
    messages.push({ role: speaker, content: text });
  }
  return messages.some(({ content }) => content.trim() !== '') ? messages : { reason: `"${field}" holds no text` };
}
