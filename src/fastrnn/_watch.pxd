cdef class Watched:
    cdef object params
    cdef tuple arrays               # the values of params
    cdef readonly bint exposed      # somebody may hold, and write to, a parameter array
    cdef bint seen
    cdef unsigned long long mark    # fingerprint of the parameters of the last copy

    cdef bint changed(self)
    cdef void settle(self) noexcept
    cdef bint _held(self)
    cdef unsigned long long _fingerprint(self)
