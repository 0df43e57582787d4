/* frame_priv.h -- the bits of a frame's first two bytes (RFC 6455 5.2), for
 * the files of this room that look at them. */
#ifndef PROTO_FRAME_PRIV_H
#define PROTO_FRAME_PRIV_H

#define FRAME_BIT_FIN     0x80
#define FRAME_BIT_RSV1    0x40
#define FRAME_BITS_RSV2_3 0x30
#define FRAME_BITS_OPCODE 0x0f
#define FRAME_BIT_CONTROL 0x08
#define FRAME_BIT_MASKED  0x80
#define FRAME_BITS_LENGTH 0x7f

#endif
