// IFEval (Zhou et al. 2023): whether each instruction of a prompt is followed, strictly and loosely.
import { type InstructionPrompt, scoreInstructions } from '../instructions/index.ts';
import type { Doc, Twins } from './types.ts';

export const ifeval: Twins = {
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    const { strict, loose } = scoreInstructions(doc as unknown as InstructionPrompt, response!);
    return {
      prompt_level_strict_acc: Number(strict.every(Boolean)),
      inst_level_strict_acc: strict,
      prompt_level_loose_acc: Number(loose.every(Boolean)),
      inst_level_loose_acc: loose,
    };
  },
  'utils.agg_inst_level_acc': (items: readonly (readonly boolean[])[]) => {
    const all = items.flat();
    return all.filter(Boolean).length / all.length;
  },
};
