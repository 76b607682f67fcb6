export function variants(): { id: string; text: string }[];
