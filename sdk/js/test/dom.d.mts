export declare const container: () => HTMLElement
