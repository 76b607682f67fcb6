// Words that retrieval samples are made of: plain English, chosen so that any two differ by more than an ending.

export const ADJECTIVES: readonly string[] =
  `amber ancient arctic bold brave brief bright broad calm careful clever cloudy coastal cold copper curious dark deep distant double dusty early
eager empty exact faint fair famous fancy final firm flat foreign formal frozen gentle giant golden grand green happy heavy hidden hollow humble
icy inner ivory jolly keen kind late lazy light little lively local lonely loud lucky lunar mellow merry mighty misty modern narrow neat noble odd
open orange outer pale patient plain polite proud purple quick quiet rapid rare red royal rough rural rusty salty secret sharp shiny silent silver
simple slow smooth soft solar solid sour stable steady steep strange strong subtle sunny sweet swift tall tame tender thin tidy tiny tough urban
vast violet vivid warm weary western white wide wild wise wooden yellow young`.split(/\s+/);

export const NOUNS: readonly string[] =
  `acorn anchor apple apron arrow badge bakery ball banjo barrel basket beach beacon bell bench bicycle blanket boat book bottle bowl branch brick
bridge broom bucket button cabin cable camera candle canoe canyon carpet castle cellar chair chapel cherry circle cliff clock cloud coat comet
compass cottage cotton cradle crane crayon creek crown curtain desert desk diamond dolphin door dragon drawer drum eagle engine falcon farm feather
fence ferry field finger flag flute forest fountain fox garden gate giraffe glacier glove goose grape guitar hammer harbor harvest hat hazel helmet
heron hill honey horse hotel island jacket jaguar jungle kettle kitchen kite ladder lake lamp lantern lemon letter library lion lizard lobster magnet
maple market meadow melon mirror monkey moon mountain museum napkin needle nest ocean olive onion orchard otter oven owl paddle painter palace panda
paper parrot peach pebble pencil penguin piano pillow pirate planet pocket pond potato prairie pumpkin puzzle rabbit raven ribbon river robin rocket
roof rope rose saddle sailor salmon scarf school shadow shell shirt shovel singer sofa spider spoon station stone stove street sugar summer swan table
teapot temple thunder tiger tower tractor train tree trumpet tulip tunnel turtle valley velvet village violin wagon wallet walnut whale wheel whistle
willow window winter wolf zebra`.split(/\s+/);

/** As many different words as asked for: the nouns, then two of them written as one. */
export function distinctWords(count: number): string[] {
  const words = [...NOUNS, ...ADJECTIVES].slice(0, count);
  for (let step = 1; words.length < count; step++) {
    if (step >= NOUNS.length)
      throw new RangeError(`internal: ${count} different words asked for, ${words.length} known`);
    for (let i = 0; i < NOUNS.length && words.length < count; i++)
      words.push(NOUNS[i]! + NOUNS[(i + step) % NOUNS.length]!);
  }
  return words;
}
