package com.aether.ipc;

/** Keeps the fields of a handle away from what other threads write: those of another handle, made just before. */
abstract sealed class Apart permits Handle {
    @SuppressWarnings("unused")
    private long p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15;
}
