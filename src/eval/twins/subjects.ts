// One data set, many task files: each keeps the documents of its subject, category or subtask.
import type { Doc, Twins } from './types.ts';

export const MMLU_SUBJECTS: readonly string[] =
  `abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry college_computer_science
college_mathematics college_medicine college_physics computer_security conceptual_physics econometrics electrical_engineering
elementary_mathematics formal_logic global_facts high_school_biology high_school_chemistry high_school_computer_science
high_school_european_history high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_mathematics
high_school_microeconomics high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history
human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing medical_genetics miscellaneous
moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting professional_law professional_medicine
professional_psychology public_relations security_studies sociology us_foreign_policy virology world_religions`.split(
    /\s+/,
  );

/** A `prefix + name` a subject, each keeping the documents that `subjectOf` says are its. */
export function bySubject(
  subjects: readonly string[],
  subjectOf: (doc: Doc) => unknown,
  {
    prefix = 'utils.process_',
    name = (subject: string) => subject.toLowerCase().replaceAll(' & ', '_').replaceAll(' ', '_'),
  } = {},
): Twins {
  return Object.fromEntries(
    subjects.map((subject) => [
      prefix + name(subject),
      (docs: readonly Doc[]) => docs.filter((doc) => subjectOf(doc) === subject),
    ]),
  );
}

export const globalMmluSubjects = bySubject(MMLU_SUBJECTS, (doc) => doc.subject);
export const globalMmluCategories = bySubject(
  ['Business', 'Humanities', 'Medical', 'Other', 'STEM', 'Social Sciences'],
  (doc) => doc.subject_category,
);

/** Some rows of the data set name a file where the subject should stand: "anatomy_test.csv_sw-KE.csv". */
export const openaiMmmlu = bySubject(MMLU_SUBJECTS, (doc) => {
  const subject = doc.Subject;
  if (typeof subject !== 'string') return subject;
  const marker = ['_test.csv', '_test-'].find((m) => subject.includes(m));
  return marker === undefined ? subject : subject.slice(0, subject.indexOf(marker));
});

export const includeBench = bySubject(
  [
    'Applied Science',
    'Arts & Humanities',
    'Business & Commerce',
    'Driving License',
    'General knowledge',
    'Health oriented education',
    'Marine License',
    'Medical License',
    'Professional certification',
    'STEM',
    'Social Science',
  ],
  (doc) => doc.domain,
);

/** Llama 3's MMLU in seven languages: "mmlu_es_chat.anatomy". */
export const llamaMmlu = (language: string): Twins =>
  Object.fromEntries(
    MMLU_SUBJECTS.map((subject) => [
      `utils.process_docs_${subject}`,
      (docs: readonly Doc[]) => docs.filter((doc) => doc.subtask_name === `mmlu_${language}_chat.${subject}`),
    ]),
  );

export const PRO_CATEGORIES: readonly string[] =
  'biology,business,chemistry,computer science,economics,engineering,health,history,law,math,other,philosophy,physics,psychology'.split(
    ',',
  );
export const proCategories = bySubject(PRO_CATEGORIES, (doc) => doc.category);
