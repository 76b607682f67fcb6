// The door of the forecast: laws of the loss, fitted on a part of a run or on other runs.
export {
  fitAnnealingLaw,
  goodness,
  type LawFit,
  type LossLaw,
  lossAt,
  type MeasuredCurve,
  predictCurve,
} from './annealing-law.ts';
export { ANNEALING_LAMBDA, type LrAreas, lrAreas, pretrainingArea } from './areas.ts';
export { type Forecast, type ForecastInputs, type ForecastPoint, forecastLoss, type ObservedRun } from './forecast.ts';
