export interface Limit {
  name: string
  source: string
  external?: string[]
  bytes: number
}
export declare const limits: Limit[]
export declare function measure(limit: Limit): Promise<number>
