// Makes the JSON lines of data/suites from data/suites/sources and from the templates below: `node scripts/make-suites.mjs`.
// Same bytes every time. Right answers stand at every place equally often, and the longest choice is right no more often than chance would have it.
import * as fs from 'node:fs';
import * as path from 'node:path';

const SUITES = path.resolve(import.meta.dirname, '..', 'data', 'suites');
/** Of each suite, so many make the short one that a demo has time for. */
const MINI = { 'general-knowledge': 40, reasoning: 40, reading: 42, completion: 40, instructions: 25, grammar: 60 };

/** Mulberry32: 32 bits of state, enough for shuffling. */
function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  const shuffle = (list) => {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = below(i + 1);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  };
  return { below, shuffle, pick: (list) => list[below(list.length)], some: (list, n) => shuffle(list).slice(0, n) };
}

function sourceLines(name) {
  return fs
    .readFileSync(path.join(SUITES, 'sources', `${name}.txt`), 'utf8')
    .split('\n')
    .filter((line) => line !== '');
}

const withChoices = (line) => {
  const [question, ...choices] = line.split(' | ');
  return { question, choices };
};

/** First choice right -> shuffled, right answers at every place equally often. */
function placeAnswers(items, rng) {
  const places = rng.shuffle(items.map((item, i) => i % item.choices.length));
  return items.map(({ choices, ...item }, i) => {
    const answer = places[i];
    const wrong = rng.shuffle(choices.slice(1));
    return { ...item, choices: [...wrong.slice(0, answer), choices[0], ...wrong.slice(answer)], answer };
  });
}

function generalKnowledge() {
  let topic = '';
  return sourceLines('general-knowledge').flatMap((line) => {
    if (!line.startsWith('# ')) return [{ topic, ...withChoices(line) }];
    topic = line.slice(2);
    return [];
  });
}

function reading() {
  let passage = '';
  return sourceLines('reading').flatMap((line) => {
    if (!line.startsWith('= ')) return [{ passage, ...withChoices(line) }];
    passage = line.slice(2);
    return [];
  });
}

function completion() {
  return sourceLines('completion').map((line) => {
    const [context, word] = line.split(' | ');
    return { context, word };
  });
}

const NAMES = [
  'Anna',
  'Ben',
  'Carl',
  'Dora',
  'Emma',
  'Fred',
  'Greta',
  'Henry',
  'Ida',
  'John',
  'Kate',
  'Leo',
  'Mary',
  'Nick',
  'Olga',
  'Paul',
];
const THINGS = ['apples', 'books', 'coins', 'pens', 'stones', 'eggs', 'cups', 'stamps'];
const WORDS =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty'.split(
    ' ',
  );

/** A right number and three wrong ones near it, two below or two above as often, so that neither size nor length tells. */
function numbers(rng, right, highest) {
  const near = [-4, -3, -2, -1, 1, 2, 3, 4].map((d) => right + d).filter((n) => n >= 1 && n <= highest);
  return [right, ...rng.some(near, 3)];
}

const TEMPLATES = {
  addition: (rng) => {
    const [name, thing, a, b] = [rng.pick(NAMES), rng.pick(THINGS), 2 + rng.below(8), 2 + rng.below(8)];
    return {
      question: `${name} has ${WORDS[a]} ${thing} and gets ${WORDS[b]} more. Together that makes`,
      choices: numbers(rng, a + b, 20).map((n) => `${WORDS[n]} ${thing}`),
    };
  },
  subtraction: (rng) => {
    const [name, thing, a] = [rng.pick(NAMES), rng.pick(THINGS), 6 + rng.below(10)];
    const b = 2 + rng.below(a - 4);
    return {
      question: `${name} had ${WORDS[a]} ${thing} and gave away ${WORDS[b]} of them. What is left are`,
      choices: numbers(rng, a - b, 20).map((n) => `${WORDS[n]} ${thing}`),
    };
  },
  counting: (rng) => {
    const [start, step] = [1 + rng.below(6), 1 + rng.below(5)];
    const at = (i) => start + i * step;
    return { question: `${at(0)}, ${at(1)}, ${at(2)}, ${at(3)},`, choices: numbers(rng, at(4), 60).map(String) };
  },
  ordering: (rng) => {
    const people = rng.some(NAMES, 4);
    const [adjective, most, least] = rng.pick([
      ['taller', 'tallest', 'shortest'],
      ['older', 'oldest', 'youngest'],
      ['faster', 'fastest', 'slowest'],
      ['richer', 'richest', 'poorest'],
    ]);
    const facts = rng.shuffle([0, 1, 2].map((i) => `${people[i]} is ${adjective} than ${people[i + 1]}.`)).join(' ');
    const wantsMost = rng.below(2) === 0;
    const right = wantsMost ? people[0] : people[3];
    return {
      question: `${facts} The ${wantsMost ? most : least} of the four is`,
      choices: [right, ...people.filter((name) => name !== right)],
    };
  },
  clock: (rng) => {
    const [now, later] = [1 + rng.below(11), 1 + rng.below(6)];
    const then = ((now + later - 1) % 12) + 1;
    const wrong = rng.some(
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].filter((hour) => hour !== then),
      3,
    );
    return {
      question: `It is ${WORDS[now]} o'clock. In ${WORDS[later]} hour${later > 1 ? 's' : ''} it will be`,
      choices: [then, ...wrong].map((hour) => `${WORDS[hour]} o'clock`),
    };
  },
  tracking: (rng) => {
    const [name, other] = rng.some(NAMES, 2);
    const thing = rng.pick(['ball', 'key', 'letter', 'ring', 'coin', 'map']);
    const [first, second, third, fourth] = rng.some(['box', 'bag', 'drawer', 'basket', 'pocket', 'bucket'], 4);
    return {
      question:
        `${name} puts the ${thing} into the ${first}. ${other} looks into the ${fourth} and finds nothing. ` +
        `Then ${name} takes the ${thing} out of the ${first} and puts it into the ${second}, beside the ${third}. The ${thing} is now in the`,
      choices: [second, first, third, fourth],
    };
  },
  syllogism: (rng) => {
    const [kind, place] = [
      rng.pick(['cats', 'horses', 'houses', 'boats', 'birds']),
      rng.pick(['village', 'valley', 'harbor', 'park']),
    ];
    const [color, ...others] = rng.some(['black', 'white', 'brown', 'green', 'yellow', 'red'], 4);
    return {
      question: `All ${kind} of this ${place} are ${color}. The ${kind} of other places are ${others[0]} or ${others[1]}. So a ${kind.slice(0, -1)} of this ${place} must be`,
      choices: [color, ...others],
    };
  },
  elimination: (rng) => {
    const [first, second, third, fourth] = rng.some(NAMES, 4);
    const deed = rng.pick(['broke the window', 'ate the cake', 'won the prize', 'wrote the letter']);
    const cleared = rng.shuffle([second, third, fourth]);
    return {
      question: `One of four people ${deed}: ${rng.shuffle([first, second, third, fourth]).join(', ')}. It was not ${cleared[0]}, not ${cleared[1]} and not ${cleared[2]}. The one who ${deed} was`,
      choices: [first, second, third, fourth],
    };
  },
};
const NUM_OF_TEMPLATE = {
  addition: 16,
  subtraction: 14,
  counting: 16,
  ordering: 20,
  clock: 14,
  tracking: 16,
  syllogism: 14,
  elimination: 12,
};

function reasoning(rng) {
  const made = Object.entries(NUM_OF_TEMPLATE).flatMap(([kind, n]) => {
    const seen = new Map();
    while (seen.size < n) {
      const item = TEMPLATES[kind](rng);
      seen.set(item.question, { kind, ...item });
    }
    return [...seen.values()];
  });
  const written = ['analogies', 'causes'].flatMap((kind) =>
    sourceLines(kind).map((line) => ({ kind, ...withChoices(line) })),
  );
  return [...made, ...written];
}

const NOUNS = [
  ['dog', 'dogs'],
  ['teacher', 'teachers'],
  ['house', 'houses'],
  ['river', 'rivers'],
  ['child', 'children'],
  ['soldier', 'soldiers'],
  ['book', 'books'],
  ['ship', 'ships'],
  ['woman', 'women'],
  ['city', 'cities'],
];
const PLACES = ['near the river', 'of the king', 'in the street', 'from the north', 'behind the church', 'of our town'];
/** Singular, plural. */
const VERBS = [
  ['is', 'are'],
  ['was', 'were'],
  ['has been', 'have been'],
];
const QUALITIES = ['old', 'very large', 'known to everyone', 'small', 'here', 'not far away'];
const FEMALE = ['queen', 'mother', 'sister', 'woman', 'girl', 'princess', 'daughter', 'aunt', 'lady', 'grandmother'];
const MALE = ['king', 'father', 'brother', 'man', 'boy', 'prince', 'son', 'uncle', 'gentleman', 'grandfather'];
const VOWELS = [
  'apple',
  'old house',
  'island',
  'enemy',
  'empty room',
  'open door',
  'evil king',
  'uncle',
  'answer',
  'eagle',
];
const CONSONANTS = [
  'tree',
  'new house',
  'river',
  'friend',
  'dark room',
  'closed door',
  'good king',
  'brother',
  'question',
  'bird',
];

/** A right ending and a wrong one. */
const GRAMMAR = {
  agreement: (rng) => {
    const [noun, verb, plural] = [rng.pick(NOUNS), rng.pick(VERBS), rng.below(2)];
    const quality = rng.pick(QUALITIES);
    return {
      question: `The ${noun[plural]}`,
      choices: [`${verb[plural]} ${quality}.`, `${verb[1 - plural]} ${quality}.`],
    };
  },
  'agreement at a distance': (rng) => {
    const [noun, verb, plural] = [rng.pick(NOUNS), rng.pick(VERBS), rng.below(2)];
    const quality = rng.pick(QUALITIES);
    const question = `The ${noun[plural]} ${rng.pick(PLACES)}`;
    return { question, choices: [`${verb[plural]} ${quality}.`, `${verb[1 - plural]} ${quality}.`] };
  },
  determiners: (rng) => {
    const [noun, plural] = [rng.pick(NOUNS), rng.below(2)];
    const word = rng.pick([
      ['this', 'these'],
      ['that', 'those'],
      ['one', 'three'],
      ['every', 'all the'],
      ['another', 'several'],
    ])[plural];
    const place = rng.pick(PLACES);
    return {
      question: `${rng.pick(['We saw', 'She spoke of', 'They know', 'He wrote about'])} ${word}`,
      choices: [`${noun[plural]} ${place}.`, `${noun[1 - plural]} ${place}.`],
    };
  },
  reflexives: (rng) => {
    const [isFemale, female, male] = [rng.below(2) === 1, rng.pick(FEMALE), rng.pick(MALE)];
    const end = rng.pick(['in the mirror.', 'with a knife.', 'for the first time.', 'with great care.']);
    const choices = [`himself ${end}`, `herself ${end}`];
    return {
      question: `The ${isFemale ? female : male} ${rng.pick(['saw', 'hurt', 'defended', 'admired'])}`,
      choices: isFemale ? choices.toReversed() : choices,
    };
  },
  articles: (rng) => {
    const start = `${rng.pick(['There was', 'He found', 'She dreamed of', 'They spoke about'])}`;
    const [word, isVowel] = rng.below(2) ? [rng.pick(VOWELS), true] : [rng.pick(CONSONANTS), false];
    return { question: start, choices: [`${isVowel ? 'an' : 'a'} ${word}.`, `${isVowel ? 'a' : 'an'} ${word}.`] };
  },
  order: (rng) => {
    const [who, adjective, noun] = [
      rng.pick(['He', 'She', 'They', 'We']),
      rng.pick(['big', 'old', 'red', 'new', 'small']),
      rng.pick(NOUNS)[0],
    ];
    const verb = rng.pick(['saw', 'painted', 'found', 'loved']);
    return { question: `${who} ${verb}`, choices: [`the ${adjective} ${noun}.`, `the ${noun} ${adjective}.`] };
  },
};
const NUM_OF_GRAMMAR = 25;

function grammar(rng) {
  const made = Object.entries(GRAMMAR).flatMap(([kind, make]) => {
    const seen = new Map();
    while (seen.size < NUM_OF_GRAMMAR) {
      const item = make(rng);
      seen.set(`${item.question} ${item.choices[0]}`, { kind, ...item });
    }
    return [...seen.values()];
  });
  let kind = '';
  const written = sourceLines('grammar').flatMap((line) => {
    if (!line.startsWith('# ')) return [{ kind, ...withChoices(line) }];
    kind = line.slice(2);
    return [];
  });
  return [...made, ...written];
}

const TOPICS = [
  'the sea',
  'a rainy day',
  'bicycles',
  'your favorite season',
  'bread',
  'old trees',
  'the moon',
  'a walk in a city',
  'honey bees',
  'trains',
  'learning to cook',
  'a lost key',
  'winter mornings',
  'rivers',
  'friendship',
  'libraries',
  'the color blue',
  'sleep',
  'maps',
  'a good neighbor',
];
const COMPARE = ['at least', 'less than'];
const LANGUAGES = [
  ['de', 'German'],
  ['fr', 'French'],
  ['es', 'Spanish'],
  ['it', 'Italian'],
  ['pt', 'Portuguese'],
  ['ru', 'Russian'],
];

/** One of each kind: what it says, and the arguments that it is checked with. */
const KINDS = {
  'keywords:existence': (rng) => {
    const keywords = rng.some(['water', 'light', 'stone', 'morning', 'street', 'friend', 'paper'], 2);
    return [`Use the words "${keywords[0]}" and "${keywords[1]}".`, { keywords }];
  },
  'keywords:frequency': (rng) => {
    const [keyword, frequency] = [rng.pick(['time', 'people', 'day', 'world']), 2 + rng.below(2)];
    return [
      `The word "${keyword}" has to occur at least ${WORDS[frequency]} times.`,
      { keyword, frequency, relation: 'at least' },
    ];
  },
  'keywords:forbidden_words': (rng) => {
    const forbidden_words = rng.some(['very', 'and', 'with', 'this', 'good'], 2);
    return [`Avoid the words "${forbidden_words[0]}" and "${forbidden_words[1]}".`, { forbidden_words }];
  },
  'keywords:letter_frequency': (rng) => {
    const let_relation = rng.pick(COMPARE);
    const [letter, let_frequency] = [
      rng.pick(let_relation === 'at least' ? ['e', 's', 'a'] : ['m', 'k', 'w']),
      5 + rng.below(10),
    ];
    return [
      `The letter "${letter}" should be found ${let_relation} ${let_frequency} times in it.`,
      { letter, let_frequency, let_relation },
    ];
  },
  'language:response_language': (rng) => {
    const [language, name] = rng.pick(LANGUAGES);
    return [`Answer in ${name} only.`, { language }];
  },
  'length_constraints:number_sentences': (rng) => {
    const [num_sentences, relation] = [3 + rng.below(3), rng.pick(COMPARE)];
    return [`Write ${relation} ${WORDS[num_sentences]} sentences.`, { num_sentences, relation }];
  },
  'length_constraints:number_paragraphs': (rng) => {
    const num_paragraphs = 2 + rng.below(2);
    return [
      `Write ${WORDS[num_paragraphs]} paragraphs with a line of three stars (***) between one and the next.`,
      { num_paragraphs },
    ];
  },
  'length_constraints:number_words': (rng) => {
    const [num_words, relation] = rng.pick([
      [30, 'at least'],
      [60, 'at least'],
      [40, 'less than'],
      [80, 'less than'],
    ]);
    return [`Your answer should have ${relation} ${num_words} words.`, { num_words, relation }];
  },
  'length_constraints:nth_paragraph_first_word': (rng) => {
    const first_word = rng.pick(['Later', 'Nevertheless', 'Today', 'Perhaps']);
    return [
      `Write exactly two paragraphs, separated by an empty line. The second one has to begin with the word "${first_word}".`,
      { num_paragraphs: 2, nth_paragraph: 2, first_word },
    ];
  },
  'detectable_content:number_placeholders': (rng) => {
    const num_placeholders = 1 + rng.below(3);
    return [
      `Leave at least ${WORDS[num_placeholders]} blank${num_placeholders > 1 ? 's' : ''} for the reader to fill in, in square brackets, such as [name].`,
      { num_placeholders },
    ];
  },
  'detectable_content:postscript': (rng) => {
    const postscript_marker = rng.pick(['P.S.', 'P.P.S']);
    return [`Close with a postscript that begins with ${postscript_marker}`, { postscript_marker }];
  },
  'detectable_format:number_bullet_lists': (rng) => {
    const num_bullets = 2 + rng.below(3);
    return [
      `Give your answer as a list of exactly ${WORDS[num_bullets]} items, each on a line that begins with a star (*).`,
      { num_bullets },
    ];
  },
  'detectable_format:constrained_response': () => [
    'Reply with one of these three sentences: "My answer is yes.", "My answer is no." or "My answer is maybe."',
    {},
  ],
  'detectable_format:number_highlighted_sections': (rng) => {
    const num_highlights = 1 + rng.below(3);
    return [
      `Emphasize at least ${WORDS[num_highlights]} part${num_highlights > 1 ? 's' : ''} of the text by putting stars around it, *like this*.`,
      { num_highlights },
    ];
  },
  'detectable_format:multiple_sections': (rng) => {
    const [section_spliter, num_sections] = [rng.pick(['Section', 'SECTION']), 2 + rng.below(2)];
    return [
      `Divide it into ${WORDS[num_sections]} sections headed "${section_spliter} 1", "${section_spliter} 2" and so on.`,
      { section_spliter, num_sections },
    ];
  },
  'detectable_format:json_format': () => ['Give the whole answer as one JSON object and nothing else.', {}],
  'detectable_format:title': () => ['Put a title in double angle brackets above it, <<like this>>.', {}],
  'combination:two_responses': () => [
    'Give two different answers with a line of six stars (******) between them and no other remarks.',
    {},
  ],
  'combination:repeat_prompt': (_rng, asked) => [
    'Before you answer, repeat the sentence above exactly as it stands, and put nothing in front of it.',
    { prompt_to_repeat: asked },
  ],
  'startend:end_checker': (rng) => {
    const end_phrase = rng.pick(['That is all I know.', 'Thank you for reading.', 'So it goes.']);
    return [`The very last words have to be: ${end_phrase}`, { end_phrase }];
  },
  'startend:quotation': () => ['Put the whole answer between double quotation marks.', {}],
  'change_case:capital_word_frequency': (rng) => {
    const [capital_frequency, capital_relation] = [2 + rng.below(4), rng.pick(COMPARE)];
    return [
      `Words written only in capital letters should occur ${capital_relation} ${WORDS[capital_frequency]} times.`,
      { capital_frequency, capital_relation },
    ];
  },
  'change_case:english_capital': () => ['Answer in English and use capital letters only.', {}],
  'change_case:english_lowercase': () => ['Answer in English and use no capital letters at all.', {}],
  'punctuation:no_comma': () => ['Do not use a single comma.', {}],
};

/** Kinds that go with most others, for prompts of two and three instructions. */
const COMPANIONS = [
  'punctuation:no_comma',
  'keywords:existence',
  'length_constraints:number_words',
  'keywords:forbidden_words',
  'detectable_format:title',
];
/** Kinds that stand alone: a companion would contradict them, or leave hardly an answer that follows both. */
const ALONE = new Set([
  'language:response_language',
  'detectable_format:constrained_response',
  'detectable_format:json_format',
  'combination:two_responses',
  'combination:repeat_prompt',
  'startend:quotation',
  'change_case:english_capital',
  'change_case:english_lowercase',
  'length_constraints:nth_paragraph_first_word',
]);
const ROUNDS = 5;

const QUESTIONS = [
  'Is it better to live in a town than in a village?',
  'Should children learn to cook at school?',
  'Is winter a good time to travel?',
  'Do cats make better pets than dogs?',
  'Can people live on the moon one day?',
  'Is it easy to learn to swim?',
];
const REQUESTS = ['Write a short text about', 'Tell me something about', 'Describe in a few words what you think of'];

function instructions(rng) {
  const items = new Map();
  for (let round = 0; round < ROUNDS; round++)
    for (const kind of rng.shuffle(Object.keys(KINDS))) {
      let item = instructionPrompt(rng, kind, round % 3);
      while (items.has(item.prompt)) item = instructionPrompt(rng, kind, round % 3);
      items.set(item.prompt, item);
    }
  return [...items.values()];
}

function instructionPrompt(rng, kind, numCompanions) {
  const isQuestion = kind === 'detectable_format:constrained_response';
  const asked = isQuestion ? rng.pick(QUESTIONS) : `${rng.pick(REQUESTS)} ${rng.pick(TOPICS)}.`;
  const others = COMPANIONS.filter((other) => family(other) !== family(kind));
  const chosen = [kind, ...(ALONE.has(kind) ? [] : rng.some(others, numCompanions))];
  const parts = chosen.map((id) => KINDS[id](rng, asked));
  return {
    prompt: [asked, ...parts.map(([text]) => text)].join(' '),
    instruction_id_list: chosen,
    kwargs: parts.map(([, given]) => given),
  };
}

const family = (kind) => kind.split(':')[0];

/** Expected share of right answers of one who takes the longest (or, with sign -1, the shortest) choice, and takes ties by chance. */
function guessByLength(items, sign) {
  const hits = items.map(({ choices, answer }) => {
    const lengths = choices.map((choice) => sign * choice.length);
    const most = Math.max(...lengths);
    return lengths[answer] === most ? 1 / lengths.filter((n) => n === most).length : 0;
  });
  return hits.reduce((sum, hit) => sum + hit, 0) / items.length;
}

function write(name, items) {
  const rows = items.map(
    (item, i) => JSON.stringify({ id: `${name}-${String(i + 1).padStart(3, '0')}`, ...item }) + '\n',
  );
  const cut = MINI[name];
  fs.writeFileSync(path.join(SUITES, name, 'mini.jsonl'), rows.slice(0, cut).join(''));
  fs.writeFileSync(path.join(SUITES, name, 'rest.jsonl'), rows.slice(cut).join(''));
}

function main() {
  const suites = { 'general-knowledge': generalKnowledge, reasoning, reading, grammar };
  for (const [name, make] of Object.entries(suites)) {
    const rng = random(2026);
    const items = placeAnswers(rng.shuffle(make(rng)), rng);
    const [longest, shortest] = [guessByLength(items, 1), guessByLength(items, -1)];
    const chance = 1 / items[0].choices.length;
    const stderr = Math.sqrt((chance * (1 - chance)) / items.length);
    console.log(
      `${name}: ${items.length} questions; longest choice right ${longest.toFixed(3)}, shortest ${shortest.toFixed(3)}, chance ${chance} +- ${stderr.toFixed(3)}`,
    );
    write(name, items);
  }
  const rng = random(2026);
  write('completion', rng.shuffle(completion()));
  write(
    'instructions',
    instructions(rng).map((item, key) => ({ key, ...item })),
  );
}

main();
