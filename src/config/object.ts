import { z } from 'zod'

/** A map that may have these keys and no others. */
export const object = <Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  what: string,
): z.ZodObject<Shape, z.core.$strict> =>
  z.strictObject(shape, { error: (issue) => (issue.code === 'invalid_type' ? `must be ${what}` : undefined) })
