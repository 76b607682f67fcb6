// Lines that belong to a page and not to its text: menus, share buttons, cookie notices, copyright footers. After RefinedWeb's corrections
// by line (Penedo et al. 2023, arXiv 2306.01116, appendix G.2: short lines, patterns at their start, end or inside, counters). Only whole
// lines go, and only those whose every word is accounted for, so that a sentence about cookies stays.
import type { CleanOptions } from '../../../config/index.ts';
import type { Step } from '../types.ts';

export const BOILERPLATE = { maxWords: 40 };

/** Longer lines are not looked at, whatever maxWords says: no rule's line is as long. */
const MAX_CHARS = 600;

/** Whole lines, in lower case and without marks around them. */
const LINES = new Set(
  `about us|accept|accept all|accept all cookies|accept cookies|ad|add to cart|add to wishlist|advertisement|advertisements|
all rights reserved|already a member|back to top|buy now|cancel reply|change language|click here|click here to read more|close|close menu|
comments are closed|contact us|continue reading|continue shopping|cookie policy|cookie preferences|cookie settings|cookies settings|
create account|create an account|decline|disclaimer|download app|email this|embed|facebook|faqs|follow|follow us|forgot password|
forgot your password|get in touch|go to top|home|instagram|jump to content|jump to navigation|latest news|learn more|leave a comment|
leave a reply|like this|linkedin|load more|loading|log in|log in to reply|log out|login|logout|main menu|main navigation|manage cookies|
menu|more info|more information|my account|newsletter|next|next article|next page|next post|no comments|no comments yet|no thanks|
older posts|newer posts|open menu|page not found|permalink|pin it|pinterest|popular posts|post a comment|post comment|powered by wordpress|
previous|previous article|previous page|previous post|print|print this page|privacy|privacy & cookies|privacy notice|privacy policy|
privacy statement|proudly powered by wordpress|read article|read full article|read full story|read more|read more articles|
read the full article|read the full story|recent comments|recent posts|register|related articles|related posts|related stories|
remember me|reply|report abuse|report this ad|scroll to top|
search|search for|see all|see also|see more|select language|share|share article|share by email|share on facebook|share on linkedin|
share on pinterest|share on twitter|share on whatsapp|share on x|share this|share this article|share this page|share this post|
share this story|show all|show less|show more|sign in|sign in to comment|sign up|sign up for our newsletter|site map|sitemap|
skip navigation|skip to content|skip to footer|skip to main content|skip to navigation|skip to primary content|skip to search|
skip to secondary content|sponsored|sponsored content|submit|submit comment|subscribe|subscribe now|subscribe to our newsletter|
table of contents|terms|terms & conditions|terms and conditions|terms of service|terms of use|to top|toggle menu|toggle navigation|toggle search|top|tweet|tweet this|twitter|unsubscribe|view all|view comments|view full site|view more|
visit our facebook page|whatsapp|youtube`
    .split('|')
    .map((line) => line.trim()),
);
/** Words that a document's section may be called by: they go only between signs that menus have. */
const HEADINGS = new Set(
  `about us|contact us|disclaimer|faqs|home|learn more|more information|next|previous|print|privacy|reply|search|see also|share|
table of contents|terms|top|submit|register|follow|close|accept|decline|embed|unsubscribe|subscribe|login|logout|menu|loading|login|
facebook|twitter|instagram|linkedin|youtube|whatsapp|pinterest|newsletter|sitemap|site map|cancel reply|sponsored|ad`
    .split('|')
    .map((line) => line.trim()),
);

/** Each must match the whole line. Bounded repetitions only: a line of any kind is decided in time linear in its length. */
const PATTERNS: readonly (readonly [kind: string, pattern: RegExp])[] = [
  [
    'cookie notices',
    /^(?:this|our|the) (?:web ?)?(?:site|page|shop|store)s? (?:also )?(?:uses?|stores?|is using|makes use of) cookies\b.{0,400}$/,
  ],
  ['cookie notices', /^we (?:and our partners |also )?(?:use|store) cookies (?:to|on|for|and|in order)\b.{0,400}$/],
  ['cookie notices', /^by (?:using|continuing|browsing|clicking|visiting)\b.{0,120}\bcookies?\b.{0,200}$/],
  [
    'cookie notices',
    /^(?:we value your privacy|manage (?:your )?(?:cookie|consent).{0,40}|(?:accept|reject|allow|deny|decline) (?:all )?(?:optional )?cookies?)$/,
  ],
  ['copyright lines', /^(?:copyright|©|\(c\))(?: ?(?:copyright|©|\(c\)))?[ :]{0,3}(?:19|20)\d\d\b.{0,160}$/],
  ['copyright lines', /^.{0,100}(?:©|\(c\)|\bcopyright) ?(?:(?:19|20)\d\d).{0,80}\ball rights reserved\b.{0,80}$/],
  ['copyright lines', /^(?:©|copyright\b).{0,120}\ball rights reserved\b.{0,80}$/],
  [
    'links onward',
    /^.{0,80}(?:read|see|view|show|load) (?:more|full article|the rest)(?: ?(?:»|→|›|>|\.\.\.|…)){1,3}$/,
  ],
  [
    'links onward',
    /^(?:«|←|‹|<)? ?(?:previous|older|newer|next) (?:posts?|articles?|entry|entries|pages?|story|stories)(?:: .{0,100}| ?[»→›>].{0,100}| [-–|] .{0,100})?$/,
  ],
  ['links onward', /^page \d{1,6} of \d{1,6}$/],
  [
    'share buttons',
    /^(?:share|tweet|pin|email|print|like|follow us|find us|join us)(?: (?:this|on|via|to|by|with|it|us|a|link|friend|page|post|article|story|facebook|twitter|x|linkedin|pinterest|whatsapp|reddit|email|e-mail|telegram|instagram|youtube|&|and|[|/,·•+])){1,12}$/,
  ],
  [
    'share buttons',
    /^(?:(?:facebook|twitter|linkedin|pinterest|whatsapp|reddit|instagram|youtube|tumblr|telegram|email|google\+|rss)(?: ?[|/,·•] ?| |$)){2,12}$/,
  ],
  [
    'share buttons',
    /^\d{1,9} (?:likes?|shares?|comments?|views?|retweets?|followers?|replies|reply|votes?|tweets?|reviews?)$/,
  ],
  [
    'log-in lines',
    /^(?:please )?(?:log ?in|sign ?in|register|sign ?up|subscribe)(?: (?:or|and|\/|to) (?:log ?in|sign ?in|register|sign ?up|subscribe|create an account|comment|post a comment|reply|continue|view this|read more|our newsletter|your account)){1,3}$/,
  ],
  ['log-in lines', /^you must (?:be )?(?:log(?:ged)? ?in|sign(?:ed)? ?in|register(?:ed)?) (?:to|in order to) .{0,80}$/],
  [
    'log-in lines',
    /^(?:already (?:a member|have an account|registered)|don.t have an account|not a member(?: yet)?)\?? ?(?:(?:log ?in|sign ?in|sign ?up|register|join)(?: (?:here|now))?)?$/,
  ],
  ['javascript lines', /^(?:please )?(?:enable|turn on|activate) javascript\b.{0,200}$/],
  [
    'javascript lines',
    /^(?:sorry, )?(?:this|your|our|you)\b.{0,80}\b(?:requires?|needs?|must|without|to have|enable|disabled?|does not support|doesn.t support)\b.{0,40}\bjavascript\b.{0,200}$/,
  ],
  [
    'javascript lines',
    /^javascript (?:is|must|has to|needs to|seems to|appears to)\b.{0,40}\b(?:enabled|disabled|required|activated|turned)\b.{0,200}$/,
  ],
  [
    'comment forms',
    /^(?:save my name, email,? and website in this browser for the next time i comment|this site uses akismet to reduce spam|your e-?mail address will not be published)\b.{0,160}$/,
  ],
  ['placeholder text', /^lorem ipsum dolor sit amet\b.{0,500}$/],
  [
    'items of a cart',
    /^(?:\d{1,4} items? in (?:your )?(?:cart|basket)|your (?:cart|basket) is empty|(?:view|shopping) (?:cart|basket)(?: \(\d{1,4}\))?)$/,
  ],
];

const MENU_MARK = /[|»«›‹→←▶►]/;

/** Of the lines above, with signs around them. */
const MAX_MENU_CHARS = 60;

/** A document that holds nothing else becomes empty, which removes it. */
export function boilerplate(options: CleanOptions<'boilerplate'>): Step {
  const { maxWords } = { ...BOILERPLATE, ...options };
  const own = new Set((options.lines ?? []).map((line) => line.trim().toLowerCase()));
  return {
    name: 'boilerplate',
    apply(view) {
      const changes: Record<string, number> = {};
      // Lower case has the same line ends.
      const lower = view.lowerText.split('\n');
      const kept = view.lines.filter((_, i) => {
        const line = lower[i]!;
        const kind = line.length > MAX_CHARS ? undefined : kindOf(line.trim(), maxWords, own);
        if (kind !== undefined) changes[kind] = (changes[kind] ?? 0) + 1;
        return kind === undefined;
      });
      return kept.length === view.lines.length ? undefined : { text: kept.join('\n'), changes };
    },
  };
}

/** @param line in lower case, without white space around it */
function kindOf(line: string, maxWords: number, own: ReadonlySet<string>): string | undefined {
  if (line === '') return undefined;
  if (own.size > 0 && own.has(line)) return 'lines of your own list';
  if (line.length <= MAX_MENU_CHARS) {
    const bare = withoutMarks(line);
    if (LINES.has(bare) && (!HEADINGS.has(bare) || MENU_MARK.test(line))) return 'menu lines';
  }
  if (!mayMatch(line) || numWordsAbove(line, maxWords)) return undefined;
  const bare = withoutMarks(line);
  return PATTERNS.find(([, pattern]) => pattern.test(line) || pattern.test(bare))?.[0];
}

const MARKS_BEFORE = /^[\s|»«›‹→←▶►•·*#>+-]+/;
const MARKS_BEHIND = '|»«›‹→←▶►•·*:>.!…- \t';

function withoutMarks(line: string): string {
  let end = line.length;
  while (end > 0 && MARKS_BEHIND.includes(line[end - 1]!)) end--;
  return line.slice(0, end).replace(MARKS_BEFORE, '');
}

/** What every pattern begins with, behind signs. */
const FIRST =
  /^[\s|»«›‹→←▶►•·*#>+<-]{0,20}(?:th(?:is|e)|our|we|by|manage|accept|reject|allow|deny|decline|copyright|©|\(c\)|older|newer|next|previous|page|share|tweet|pin|e-?mail|print|like|follow|find|join|facebook|twitter|linkedin|pinterest|whatsapp|reddit|instagram|youtube|tumblr|telegram|google|rss|please|log|sign|regist|subscribe|your?|already|don|not|enable|turn|activate|sorry|javascript|save|lorem|view|shopping|\d)/;
const ARROWS = '»→›>…';

/** Or what the two that may begin with anything hold. Decides most lines by their first word. */
function mayMatch(line: string): boolean {
  const isOnward = ARROWS.includes(line[line.length - 1]!) || line.endsWith('...');
  return isOnward || line.includes('all rights reserved') || FIRST.test(line);
}

function numWordsAbove(line: string, limit: number): boolean {
  let n = 1;
  for (let i = line.indexOf(' '); i >= 0 && n <= limit; i = line.indexOf(' ', i + 1)) n++;
  return n > limit;
}
