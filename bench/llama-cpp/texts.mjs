// Texts of the comparison, 100 to 200 tokens each, written for it: what a vocabulary and a model meet in documentation. `special`: the
// spellings of special tokens stand for the tokens themselves.
export const TEXTS = [
  {
    name: 'prose',
    text: `The harbour froze in the second week of January, and with it everything that the town lived on. Boats lay where the ice had caught
them, some straight, some leaning against the quay like people who wait for a late train. Every morning the harbour master walked out to the
red buoy, drilled a hole, and measured. Eleven centimetres, then fourteen, then nineteen. He wrote each number into a book that his father had
begun, in the same column, with the same kind of pencil. When the children asked him what the book was good for, he told them that nobody can
say how cold a winter is who has not written down the one before.`,
  },
  {
    name: 'manual',
    text: `## Restoring a single table

A backup that was made with --format=custom holds a table of contents, so one table can be restored without the rest:

1. List the contents: \`restore --list nightly.dump > contents.txt\`.
2. Keep the lines that belong to the table, its indexes and its constraints; put a semicolon in front of every other line.
3. Run \`restore --use-list=contents.txt --dbname=staging nightly.dump\`.

Foreign keys that point to the table are not part of it. If the staging database has none of the referenced rows, step 3 ends with an error,
and the table stays without that constraint. The default of --jobs is 1; on a machine with 16 cores, --jobs=8 took 41.7 s instead of 212.3 s.`,
  },
  {
    name: 'code',
    text: `def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Joins intervals that touch or overlap; the result is sorted by start."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


assert merge_intervals([(8, 10), (1, 3), (2, 6)]) == [(1, 6), (8, 10)]
assert merge_intervals([]) == []
`,
  },
  {
    name: 'languages',
    text: `Grüße aus Köln! Die Straßenbahn kommt um 18:45 Uhr, also in 7 Minuten. Où est la bibliothèque ? — Elle est fermée jusqu’à lundi.
¿Cuánto cuesta el billete? 12,50 €. Привет, мир. こんにちは、世界。 It's 3½ km to the café, isn't it? Temperature: −4 °C 🥶; don't panic 👩‍🚀.
\ttab, two  spaces, a trailing space \nand x² + y² ≤ 1000000.`,
  },
  {
    name: 'chat',
    special: true,
    text: `<|im_start|>system
You are a patient database administrator.<|im_end|>
<|im_start|>user
Our nightly job deletes old rows, but the table's files never get smaller. Is something broken?<|im_end|>
<|im_start|>assistant
No. Deleting a row only marks its space as free, and new rows use that space again. The files shrink when the table is rewritten, which
locks it while it runs. If the table stays at about the same size from week to week, nothing needs to be done.<|im_end|>
<|im_start|>user
And how would I see that?<|im_end|>
<|im_start|>assistant
`,
  },
];
