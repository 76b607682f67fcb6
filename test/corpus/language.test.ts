import { expect, it } from 'vitest';
import { countLanguages, countWords, guessLanguage } from '../../src/corpus/index.ts';

/** Plain sentences written for this test, a few dozen words each. */
const TEXTS: Record<string, string> = {
  en: 'The pump must be switched off before the cover is removed. Check that the pressure in the line has fallen to zero, and wait for a minute. It is not enough to close the valve, because some of the water stays in the pipe.',
  de: 'Die Pumpe muss abgeschaltet werden, bevor die Abdeckung entfernt wird. Prüfen Sie, dass der Druck in der Leitung auf null gefallen ist, und warten Sie eine Minute. Es reicht nicht, das Ventil zu schließen, weil ein Teil des Wassers in dem Rohr bleibt.',
  fr: "La pompe doit être arrêtée avant que le couvercle ne soit retiré. Vérifiez que la pression dans la conduite est tombée à zéro et attendez une minute. Il ne suffit pas de fermer la vanne, car une partie de l'eau reste dans le tuyau.",
  es: 'La bomba se debe apagar antes de que se retire la tapa. Compruebe que la presión en la línea ha caído a cero y espere un minuto. No es suficiente con cerrar la válvula, porque una parte del agua se queda en el tubo.',
  it: 'La pompa deve essere spenta prima che il coperchio sia rimosso. Controllare che la pressione nella linea sia scesa a zero e attendere un minuto. Non è sufficiente chiudere la valvola, perché una parte della acqua rimane nel tubo.',
  pt: 'A bomba deve ser desligada antes que a tampa seja removida. Verifique que a pressão na linha caiu para zero e espere um minuto. Não é suficiente fechar a válvula, porque uma parte da água fica no tubo e não se pode ver.',
  nl: 'De pomp moet worden uitgeschakeld voordat het deksel wordt verwijderd. Controleer dat de druk in de leiding naar nul is gevallen en wacht een minuut. Het is niet genoeg om de klep te sluiten, want een deel van het water blijft in de pijp.',
  sv: 'Pumpen måste stängas av innan locket tas bort. Kontrollera att trycket i ledningen har fallit till noll och vänta en minut. Det är inte nog att stänga ventilen, för en del av vattnet blir kvar i röret som inte syns från utsidan.',
  pl: 'Pompę należy wyłączyć przed tym, jak zostanie zdjęta pokrywa. Sprawdź, że ciśnienie w przewodzie spadło do zera, i poczekaj przez minutę. To nie jest dość, że zawór się zamknie, bo część wody zostaje w rurze i nie da się jej od razu spuścić.',
  tr: 'Kapak açılmadan önce pompa için enerji kesilmeli ve bu bir dakika kadar sürmeli. Hat basıncı sıfır olarak okunmalı, ama bu da yeterli olan bir şey değil, çünkü su daha sonra da boru içinde kalır. Bu ne kadar sürerse o kadar iyi.',
  ru: 'Насос нужно выключить до того, как крышка будет снята. Проверьте, что давление в линии упало до нуля, и подождите минуту. Это не всё: из трубы вода не уходит, если клапан был закрыт, так что его нужно открыть.',
  uk: 'Насос треба вимкнути до того, як кришка буде знята. Перевірте, що тиск у лінії впав до нуля, і зачекайте хвилину. Це не все: вода з труби не йде, якщо клапан був закритий, так що його треба відкрити або зняти.',
  ar: 'يجب إيقاف المضخة قبل إزالة الغطاء. تأكد من أن الضغط في الخط قد انخفض إلى الصفر وانتظر دقيقة. لا يكفي إغلاق الصمام في هذا الوقت، لأن ما بقي من الماء هو في الأنبوب على كل حال، أو بعد ذلك.',
  el: 'Η αντλία πρέπει να σβήσει πριν αφαιρεθεί το κάλυμμα. Ελέγξτε ότι η πίεση στη γραμμή έπεσε στο μηδέν.',
  he: 'יש לכבות את המשאבה לפני הסרת המכסה. ודאו שהלחץ בקו ירד לאפס והמתינו דקה לפני שממשיכים.',
  hi: 'ढक्कन हटाने से पहले पंप को बंद करना चाहिए। जाँच लें कि लाइन में दबाव शून्य हो गया है और एक मिनट रुकें।',
  ja: 'カバーを外す前にポンプを止めてください。配管の圧力がゼロになったことを確認し、一分間待ちます。弁を閉めるだけでは足りません。',
  zh: '取下盖子之前必须关闭水泵。请检查管路中的压力已经降到零,并等待一分钟。仅仅关闭阀门是不够的,因为一部分水还留在管道里面,需要再排出。',
  ko: '덮개를 열기 전에 펌프를 꺼야 합니다. 배관의 압력이 영으로 떨어졌는지 확인하고 일 분 동안 기다리십시오. 밸브만 닫는 것으로는 부족합니다.',
};

it.each(Object.entries(TEXTS))('%s', (language, text) => {
  expect(guessLanguage(text)).toBe(language);
});

it('says unknown where nothing is clear: code, numbers, names, short and mixed texts', () => {
  const code =
    'export function sum(values) { let total = 0; for (const value of values) total += value; return total; } const mean = (values) => sum(values) / values.length; console.log(mean([1, 2, 3])); if (total > limit) throw new RangeError(message);';
  const names =
    'Amsterdam Berlin Copenhagen Dublin Edinburgh Florence Geneva Hamburg Innsbruck Jakarta Kyoto Lisbon Madrid';
  for (const text of ['', 'The pump is off.', '1 2 3 4 5 6 7 8 9 10 '.repeat(20), code, names])
    expect(guessLanguage(text), text).toBe('unknown');
  expect(guessLanguage(`${TEXTS.en} ${TEXTS.de}`)).toBe('unknown');
});

it('counts bytes by language, of few texts exactly and of many from a sample', () => {
  const texts = [TEXTS.en!, TEXTS.en!, TEXTS.de!, '1 2 3'];
  const few = countLanguages(texts, [100, 100, 50, 5]);
  expect(Object.fromEntries(few)).toEqual({ en: 200, de: 50, unknown: 5 });
  // 640 texts, every tenth is looked at: of these, every other one is German.
  const many = Array.from({ length: 640 }, (_, i) => (i % 20 === 0 ? TEXTS.de! : TEXTS.en!));
  const ofMany = countLanguages(many, new Float64Array(640).fill(100));
  expect(Object.fromEntries(ofMany)).toEqual({ de: 32_000, en: 32_000 });
});

it('counts words between spaces', () => {
  expect(countWords('')).toBe(0);
  expect(countWords('  one\ttwo\r\n\nthree four ')).toBe(4);
});
