// What a model is called where there is little room.

/** "naive step 107" of a run's checkpoint, else the last two names of a path, or a hub id as it is. */
export function shortName(model: string): string {
  const parts = model.split('/').filter((part) => part !== '');
  const step = /^step-0*(\d+)$/.exec(parts.at(-1) ?? '')?.[1];
  if (step !== undefined && parts.at(-2) === 'checkpoints' && parts.length > 2) return `${parts.at(-3)} step ${step}`;
  return parts.slice(-2).join('/');
}
