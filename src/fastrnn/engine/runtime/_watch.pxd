from fastrnn.engine.runtime._arrays cimport Pinned


cdef class Gate:
    cdef list readers               # the threads inside, each as often as it has entered
    cdef int writing                # how often `writer` has closed the gate
    cdef unsigned long writer

    cdef bint closed(self)
    cdef int wait(self) except -1


cdef class Watched:
    cdef Pinned pinned              # the parameters
    cdef readonly Gate gate         # closed while other parameters are loaded
    cdef readonly bint exposed      # somebody may hold a parameter array and write to it
    cdef bint seen
    cdef unsigned long long mark    # fingerprint of the parameters of the last copy

    cdef int pin(self, object params) except -1
    cdef bint changed(self) except -1
    cdef void settle(self) noexcept
    cdef bint _held(self)
    cdef unsigned long long _fingerprint(self)
