// Errors as OpenAI's API writes them: a status and {"error": {message, type, param, code}}.
import { isUserError } from '../base/errors.ts';

export interface ErrorDetails {
  type?: string;
  /** The request's field that is wrong. */
  param?: string;
  code?: string;
  headers?: Record<string, string>;
}

export class ApiError extends Error {
  readonly status: number;
  readonly details: ErrorDetails;

  constructor(status: number, message: string, details: ErrorDetails = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** A field of the request is wrong. */
export function badRequest(param: string | undefined, message: string, code?: string): ApiError {
  return new ApiError(400, message, { param, code });
}

/** What a client is told about any error; a defect of ours shows nothing of its inside. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (isUserError(error)) return new ApiError(error.name === 'ConfigError' ? 400 : 500, error.message);
  return new ApiError(500, 'The server failed on this request. Its log has the reason.');
}

export function errorBody({ status, message, details: { type, param, code } }: ApiError) {
  const kind = type ?? (status < 500 ? 'invalid_request_error' : 'server_error');
  return { error: { message, type: kind, param: param ?? null, code: code ?? null } };
}

export function errorResponse(error: ApiError): Response {
  return new Response(JSON.stringify(errorBody(error)), {
    status: error.status,
    headers: { 'content-type': 'application/json', ...error.details.headers },
  });
}
