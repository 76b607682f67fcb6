// Which twins belong to which folder of lm_eval/tasks (0.4.13). "*" is any name of a folder: a language, mostly.
import * as african from './african.ts';
import { bbh } from './bbh.ts';
import { humaneval, humanevalInfilling, mbpp } from './code.ts';
import { c4, frenchWikitext, paloma, wikitext } from './detokenize.ts';
import { drop } from './drop.ts';
import { gpqaFewShot, gpqaGenerative, gpqaLeaderboard, gpqaZeroShot } from './gpqa.ts';
import { ifeval } from './ifeval.ts';
import * as languages from './languages.ts';
import { agieval, aime, hendrycksMath, leaderboardMath, minervaMath } from './math.ts';
import * as pro from './mmlu-pro.ts';
import { hellaswag, icelandicWinogrande, musr, race, winogrande, winograndeInUtils } from './multiple-choice.ts';
import { PROX_LABELS } from './prox-labels.ts';
import * as answers from './question-answering.ts';
import { ruler } from './ruler.ts';
import { globalMmluCategories, globalMmluSubjects, includeBench, llamaMmlu, openaiMmmlu } from './subjects.ts';
import { truthfulqa } from './truthfulqa.ts';
import type { Twins } from './types.ts';

const each = (names: readonly string[], folder: (name: string) => string, twins: Twins | ((name: string) => Twins)) =>
  Object.fromEntries(names.map((name) => [folder(name), typeof twins === 'function' ? twins(name) : twins]));

const PROMPTS = ['1', '2', '3', '4', '5'];
const afrixnli = (prompts: readonly string[], twins: Twins) => each(prompts, (n) => `afrixnli/*/prompt_${n}`, twins);

export const FOLDERS: Readonly<Record<string, Twins>> = {
  agieval,
  aime,
  arithmetic: pro.arithmetic,
  'bbh/zeroshot': bbh,
  'bbh/cot_zeroshot': bbh,
  c4,
  drop,
  french_bench: frenchWikitext,
  'global_mmlu/full/*': globalMmluSubjects,
  'global_mmlu/default/*': globalMmluCategories,
  'gpqa/zeroshot': gpqaZeroShot,
  'gpqa/n_shot': gpqaFewShot,
  'gpqa/generative': gpqaGenerative,
  'gpqa/cot_zeroshot': gpqaGenerative,
  'gpqa/cot_n_shot': gpqaGenerative,
  hellaswag,
  hendrycks_math: hendrycksMath,
  humaneval,
  humaneval_infilling: humanevalInfilling,
  ifeval,
  'include/*/*': includeBench,
  'leaderboard/gpqa': gpqaLeaderboard,
  'leaderboard/ifeval': ifeval,
  'leaderboard/math': leaderboardMath,
  'leaderboard/mmlu_pro': pro.leaderboardMmluPro,
  'leaderboard/musr': musr,
  'llama3/instruct/arc_challenge': pro.llamaArc,
  'llama3/instruct/mmlu_pro': pro.llamaMmluPro,
  ...each(['de', 'es', 'fr', 'hi', 'it', 'pt', 'th'], (name) => `llama3/instruct/mmlu_${name}`, llamaMmlu),
  mbpp,
  minerva_math: minervaMath,
  mmlu_pro: pro.mmluPro,
  'mmlu-pro-plus': pro.mmluProPlus,
  ...each(
    Object.keys(PROX_LABELS),
    (name) => `mmlu_prox/${name}`,
    (name) => pro.mmluProx(name)!,
  ),
  'openai-mmmlu/default': openaiMmmlu,
  paloma,
  race,
  ruler,
  'suites/instructions': ifeval,
  truthfulqa,
  wikitext,
  winogrande,

  bigbench: languages.bigbench,
  coqa: answers.coqa,
  'super_glue/copa': languages.copa,
  crows_pairs: languages.crowsPairs,
  darijahellaswag: languages.arabicHellaswag,
  egyhellaswag: languages.arabicHellaswag,
  darijammlu: languages.darijaMmlu,
  egymmlu: languages.egyMmlu,
  arabicmmlu: languages.arabicMmluEnglish,
  eq_bench: languages.eqBench,
  'eq_bench/multilingual': languages.eqBench,
  eus_exams: languages.eusExams,
  eus_trivia: languages.eusTrivia,
  fda: answers.fda,
  'glue/mnli': languages.mnli,
  icelandic_winogrande: icelandicWinogrande,
  kobest: languages.kobest,
  logiqa: languages.logiqa,
  logiqa2: languages.logiqa2,
  longbench: answers.longbench,
  mathqa: languages.mathqa,
  medmcqa: languages.medmcqa,
  medqa: languages.medqa,
  mlqa: answers.mlqa,
  'mmlusr/*': languages.mmluSr,
  moral_stories: answers.moralStories,
  histoires_morales: answers.moralStories,
  'noreval/norec': languages.norec,
  'noreval/noridiom': answers.norIdiom,
  'noreval/noridiom/*': answers.norIdiom,
  'noreval/noropenbookqa': languages.norOpenBookQa,
  'okapi/arc_multilingual': languages.okapiArc,
  'okapi/hellaswag_multilingual': hellaswag,
  'okapi/truthfulqa_multilingual': languages.okapiTruthfulQa,
  physics_gre: languages.physicsGre,
  pubmedqa: languages.pubmedqa,
  squad_completion: answers.squadCompletion,
  'super_glue/cb': answers.commitmentBank,
  'super_glue/record': answers.record,
  'super_glue/wsc': answers.winogradSchemas,
  swde: answers.swde,
  'tmlu/default': languages.tmlu,
  'tmmluplus/default': languages.tmmluPlus,
  toxigen: languages.toxigen,
  tydiqa: answers.tydiqa,
  uncheatable_eval: languages.uncheatable,
  webqs: languages.webqs,
  winogender: languages.winogender,
  wsc273: languages.wsc273,
  xcopa: languages.xcopa,
  xquad: answers.xquad,
  xwinograd: winograndeInUtils,

  ...each(['', '_light'], (size) => `arabic_leaderboard_avca${size}`, languages.arabicCulture),
  ...each(['', '_light'], (size) => `arabic_leaderboard_arabic_mmlu${size}`, languages.arabicMmlu),
  ...each(
    ['alghafa', 'mt_arc_challenge', 'mt_arc_easy', 'mt_mmlu', 'mt_openbook_qa', 'mt_piqa', 'mt_race'].flatMap(
      (name) => {
        const full = name === 'alghafa' ? name : `arabic_${name}`;
        return [full, `${full}_light`];
      },
    ),
    (name) => `arabic_leaderboard_${name}`,
    languages.arabicTranslated,
  ),
  'aradice/piqa': languages.aradice,
  'aradice/truthfulqa_mcq': languages.aradice,
  'aradice/winogrande': { ...languages.aradice, ...winograndeInUtils },
  'aradice/openbookqa': languages.aradiceOpenBookQa,
  'aradice/cultural-benchmark': languages.aradiceCulture,
  'aradice/boolq/ENG': languages.aradiceBoolqEnglish,
  ...each(['EGY', 'LEV', 'MSA'], (name) => `aradice/boolq/${name}`, languages.aradiceBoolqArabic),

  'afrixnli/anli prompt/*': african.afriXnliTruth,
  ...afrixnli(['1', '3', '4'], african.afriXnliRelations),
  ...afrixnli(['2'], african.afriXnliTruth),
  ...afrixnli(['5'], african.afriXnliConclusion),
  ...each(PROMPTS, (n) => `afrobench/afriqa/prompt_${n}`, african.afriQa),
  ...each(PROMPTS, (n) => `afrobench/masakhaner/prompt_${n}`, african.masakhaNer),
  ...each(PROMPTS, (n) => `afrobench/masakhapos/prompt_${n}`, african.masakhaPos),
  ...each(PROMPTS, (n) => `afrobench/xlsum/prompt_${n}`, african.rougeLMean),
  'afrobench/*/*': african.weightedF1Only,
};
