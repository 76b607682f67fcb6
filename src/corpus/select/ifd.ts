// Instruction-following difficulty (Li et al. 2023, arXiv 2308.12032): how much the question helps with the answer.

/**
 * The answer's loss with its question before it, over that without. Near 0 the question gives the answer away; near 1 it hardly helps,
 * and there is most to learn from such examples; above 1 it misleads: the pair likely does not belong together, and is left out there.
 * @param withQuestion mean loss of the answer's tokens after the question, in nats; @param alone the same without it, above 0
 */
export function instructionFollowingDifficulty(withQuestion: number, alone: number): number {
  return withQuestion / alone;
}
