/** Makes a request: a POST with JSON if there is a body. */
export const request = (
  get: typeof fetch,
  url: string,
  signal: AbortSignal,
  body?: unknown,
  token?: string,
  credentials?: RequestCredentials,
): Promise<Response> => {
  const headers: Record<string, string> = { "Content-Type": "application/json" }
  if (token) headers.Authorization = "Bearer " + token
  return get(url, { signal, credentials, headers, method: body && "POST", body: body && JSON.stringify(body) } as RequestInit)
}
