# SPDX-License-Identifier: MIT
"""JPEG RECIPES: the file of plain bytes, notes, and coefficients."""

import packed
from coefs import ZIGZAG
from wire import Reader, require

SOI, EOI, SOS, DQT, DHT, DRI, TEM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0x01


class Huffman:
    def __init__(self, counts, symbols):
        self.codes = {}
        code = at = 0
        for size in range(1, 17):
            for _ in range(counts[size - 1]):
                self.codes[symbols[at]] = code, size
                code += 1
                at += 1
            require(code <= 1 << size, "Huffman codes that are no prefix code")
            code <<= 1


class Scan:
    pass


class Headers:
    """What the marker segments have told so far."""

    def __init__(self, plain):
        self.plain = plain
        self.at = 0
        self.restart = 0
        self.tables = {}  # (class, number)
        self.quant = {}
        self.frame = None  # (id, h, v, quant table) of each component
        self.progressive = False
        self.latched = {}
        for segment in packed.STANDARD_TABLES:
            self._dht(Reader(segment[4:]))

    def next_scan(self):
        """The bytes up to the end of the next SOS segment, and what it tells."""
        plain, begin = self.plain, self.at
        while True:
            while self.at + 1 < len(plain) and not (plain[self.at] == 0xFF and plain[self.at + 1] not in (0, 0xFF)):
                self.at += 1
            require(self.at + 3 < len(plain), "a scan that is missing")
            marker = plain[self.at + 1]
            self.at += 2
            require(marker != EOI, "a scan that is missing")
            if marker in (SOI, TEM) or 0xD0 <= marker < SOI:
                continue
            size = int.from_bytes(plain[self.at : self.at + 2], "big")
            require(2 <= size <= len(plain) - self.at, "a segment that is too long")
            segment = Reader(plain[self.at + 2 : self.at + size])
            self.at += size
            if marker == SOS:
                return plain[begin : self.at], self._sos(segment)
            if marker == DHT:
                self._dht(segment)
            elif marker == DQT:
                self._dqt(segment)
            elif marker == DRI:
                self.restart = int.from_bytes(segment.take(2), "big")
                segment.end()
            elif 0xC0 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
                self._sof(marker, segment)

    def _dht(self, segment):
        while segment.left():
            which = segment.u8()
            counts = segment.take(16)
            self.tables[which >> 4, which & 15] = Huffman(counts, segment.take(sum(counts)))

    def _dqt(self, segment):
        while segment.left():
            which = segment.u8()
            values = segment.take(128 if which >> 4 else 64)
            table = [0] * 64
            for i, k in enumerate(ZIGZAG):
                value = int.from_bytes(values[2 * i : 2 * i + 2], "big") if which >> 4 else values[i]
                table[k] = value or 1
            self.quant[which & 15] = table

    def _sof(self, marker, segment):
        require(self.frame is None and marker <= 0xC2, "a frame without a recipe")
        self.progressive = marker == 0xC2
        require(segment.u8() == 8, "samples that are not of 8 bits")
        self.height = int.from_bytes(segment.take(2), "big")
        self.width = int.from_bytes(segment.take(2), "big")
        self.frame = []
        for _ in range(segment.u8()):
            which, factors, table = segment.take(3)
            self.frame.append((which, factors >> 4, factors & 15, table))
        segment.end()
        self.hmax = max(f[1] for f in self.frame)
        self.vmax = max(f[2] for f in self.frame)

    def _sos(self, segment):
        require(self.frame is not None, "a scan before its frame")
        scan = Scan()
        scan.components, scan.dc, scan.ac = [], [], []
        for _ in range(segment.u8()):
            which, tables = segment.take(2)
            component = next(
                (i for i, f in enumerate(self.frame) if f[0] == which and i not in scan.components), None
            )
            require(component is not None, "a scan of an unknown component")
            scan.components.append(component)
            scan.dc.append(self.tables.get((0, tables >> 4)))
            scan.ac.append(self.tables.get((1, tables & 15)))
        scan.ss, scan.se, approximation = segment.take(3)
        scan.ah, scan.al = approximation >> 4, approximation & 15
        segment.end()
        if not self.progressive:
            scan.ss, scan.se, scan.ah, scan.al = 0, 63, 0, 0
        scan.progressive = self.progressive
        scan.interval = self.restart
        for i in scan.components:
            table = self.frame[i][3]
            if i not in self.latched and table in self.quant:
                self.latched[i] = self.quant[table]
        return scan

    def walk(self, scan):
        """The blocks of a scan: for each MCU (index in the scan, column, row) of its blocks."""
        if len(scan.components) == 1:
            _, h, v, _ = self.frame[scan.components[0]]
            across = -(-(-(-self.width * h // self.hmax)) // 8)
            down = -(-(-(-self.height * v // self.vmax)) // 8)
            return [[(0, x, y)] for y in range(down) for x in range(across)]
        mcus = []
        for row in range(-(-self.height // (8 * self.vmax))):
            for column in range(-(-self.width // (8 * self.hmax))):
                mcu = []
                for i, component in enumerate(scan.components):
                    _, h, v, _ = self.frame[component]
                    mcu += [(i, column * h + x, row * v + y) for y in range(v) for x in range(h)]
                mcus.append(mcu)
        return mcus


class Notes:
    def __init__(self, reader):
        flags = reader.u8()
        self.padding, self.eob_runs = flags >> 2 & 3, flags >> 4 & 3
        require(flags < 128 and self.padding <= 2 and self.eob_runs <= 2, "unknown notes")
        self.no_markers = flags & 2
        self.cut = None
        if flags & 1:
            self.cut = reader.varint()
            self.cut_bits, self.cut_value = reader.u8(), reader.u8()
            self.marked = self.cut_value & 128
            self.cut_value &= 127
            require(self.cut_bits < 8 and self.cut_value < 1 << self.cut_bits, "an impossible cut")
        self.pads = list(reader.block()) if self.padding == 2 else []
        self.ends, self.runs, self.marks = {}, {}, {}
        if flags & 64:
            at = 0
            for _ in range(reader.varint()):
                at += reader.varint()
                how = reader.u8()
                require(how & 3 <= 2 and how >> 2 <= 4, "an unknown end of a block")
                odd = (reader.u8(), reader.u16()) if how & 3 == 2 else None
                self.ends[at] = how >> 2, how & 3, odd
            at = 0
            for _ in range(reader.varint()):
                at += reader.varint()
                self.runs[at] = reader.varint()
                require(1 <= self.runs[at] <= 32767, "an impossible run")
            at = 0
            for _ in range(reader.varint()):
                at += reader.varint()
                self.marks[at] = reader.u8()
                require(self.marks[at] <= 7, "an impossible marker")


class ScanEncoder:
    def __init__(self, scan, notes):
        self.scan, self.notes = scan, notes
        self.out = bytearray()
        self.acc, self.count = 0, 0
        self.last_dc = [0] * len(scan.components)
        self.eob, self.run_index, self.run_length, self.waiting = 0, 0, None, []
        self.pads = iter(notes.pads)

    def put(self, bits, n):
        self.acc = self.acc << n | bits
        self.count += n
        while self.count >= 8:
            self.count -= 8
            byte = self.acc >> self.count
            self.acc &= (1 << self.count) - 1
            self.out.append(byte)
            if byte == 0xFF:
                self.out.append(0)

    def symbol(self, table, symbol, bits=0, n=0):
        require(table is not None and symbol in table.codes and n <= 15, "a symbol without a code")
        code, size = table.codes[symbol]
        self.put(code, size)
        self.put(bits & (1 << n) - 1, n)

    def encode(self, walk, blocks):
        """blocks(component, column, row) gives 64 coefficients in natural order."""
        notes, scan = self.notes, self.scan
        done = restarts = 0
        until = scan.interval
        for mcu in walk:
            if done == notes.cut and not notes.marked:
                break
            if scan.interval and not until:
                until = scan.interval
                if not notes.no_markers:
                    self._restart(restarts)
                    restarts += 1
            until -= 1
            if done == notes.cut:
                break
            for i, x, y in mcu:
                if done == notes.cut:
                    break
                self._block(i, blocks(scan.components[i], x, y), notes.ends.get(done))
                done += 1
        self.flush_eob()
        if notes.cut is None:
            self._pad()
        else:
            require((self.count + notes.cut_bits) % 8 == 0, "an impossible cut")
            self.put(notes.cut_value, notes.cut_bits)
        return bytes(self.out)

    def _pad(self):
        n = -self.count % 8
        if self.notes.padding == 2:
            value = next(self.pads, None)
            require(value is not None and value < 1 << n, "impossible padding")
        else:
            value = 0 if self.notes.padding else (1 << n) - 1
        self.put(value, n)

    def _restart(self, index):
        self.flush_eob()
        self._pad()
        self.out += bytes([0xFF, 0xD0 + self.notes.marks.get(index, index % 8)])
        self.last_dc = [0] * len(self.last_dc)

    def _block(self, i, F, end):
        scan = self.scan
        if not scan.progressive:
            self._dc(i, F[0])
            self._sequential(scan.ac[i], F, end)
        elif scan.ss == 0 and scan.ah == 0:
            self._dc(i, F[0] >> scan.al)
        elif scan.ss == 0:
            self.put(F[0] >> scan.al & 1, 1)
        elif scan.ah == 0:
            self._first(scan.ac[i], F, end)
        else:
            self._refine(scan.ac[i], F, end)

    def _dc(self, i, value):
        difference = value - self.last_dc[i]
        self.last_dc[i] = value
        size = abs(difference).bit_length()
        self.symbol(self.scan.dc[i], size, difference - 1 if difference < 0 else difference, size)

    def _runs(self, table, F, ss):
        """Codes the coefficients from ss on; tells the place after the last that is not zero."""
        run, after = 0, ss
        for k in range(ss, self.scan.se + 1):
            value = F[ZIGZAG[k]]
            magnitude = abs(value) >> self.scan.al
            if not magnitude:
                run += 1
                continue
            self.flush_eob()
            while run > 15:
                self.symbol(table, 0xF0)
                run -= 16
            size = magnitude.bit_length()
            self.symbol(table, run << 4 | size, ~magnitude if value < 0 else magnitude, size)
            run, after = 0, k + 1
        return after

    def _sequential(self, table, F, end):
        after = self._runs(table, F, 1)
        if end is None:
            end = 0, 1 if after < 64 else 0, None
        zeros, how, odd = end
        for _ in range(zeros):
            self.symbol(table, 0xF0)
        if how == 1:
            self.symbol(table, 0)
        elif how == 2:
            self.symbol(table, odd[0], odd[1], odd[0] & 15)

    def _first(self, table, F, end):
        after = self._runs(table, F, self.scan.ss)
        if end is None:
            end = 0, 1 if after <= self.scan.se else 0, None
        for _ in range(end[0]):
            self.flush_eob()
            self.symbol(table, 0xF0)
        if end[1] == 1:
            self._join([])

    def _refine(self, table, F, end):
        scan = self.scan
        magnitude = {k: abs(F[ZIGZAG[k]]) >> scan.al for k in range(scan.ss, scan.se + 1)}
        after = max((k + 1 for k in magnitude if magnitude[k] == 1), default=scan.ss)
        k = scan.ss
        zeros = end[0] if end else 0
        while k < after or (zeros and k <= scan.se):
            if k >= after:
                zeros -= 1
            run, symbol, bits, new = 0, 0xF0, [], None
            while k <= scan.se:
                k += 1
                if magnitude[k - 1] > 1:
                    bits.append(magnitude[k - 1] & 1)
                elif magnitude[k - 1] == 1:
                    symbol, new = run << 4 | 1, F[ZIGZAG[k - 1]] > 0
                    break
                else:
                    run += 1
                    if run == 16:
                        break
            self.flush_eob()
            if new is None:
                self.symbol(table, symbol)
            else:
                self.symbol(table, symbol, int(new), 1)
            for bit in bits:
                self.put(bit, 1)
        if (end[1] == 1) if end else k <= scan.se:
            self._join([magnitude[i] & 1 for i in range(k, scan.se + 1) if magnitude[i] > 1])

    def _join(self, bits):
        """The block ends in the run of ends of blocks that is being gathered."""
        if not self.eob:
            self.run_length = self.notes.runs.get(self.run_index)
            self.run_index += 1
        self.eob += 1
        self.waiting += bits
        most = self.run_length or (1 if self.notes.eob_runs == 2 else 32767)
        if self.eob == most or (not self.run_length and self.notes.eob_runs == 0 and len(self.waiting) > 937):
            self.flush_eob()

    def flush_eob(self):
        if not self.eob:
            return
        length = self.run_length or self.eob
        size = length.bit_length() - 1
        self.eob = 0
        self.symbol(self.scan.ac[0], size << 4, length, size)
        for bit in self.waiting:
            self.put(bit, 1)
        self.waiting = []


class Recipe:
    def __init__(self, data):
        reader = Reader(data)
        require(reader.u8() == 1, "a newer recipe")
        body = Reader(packed.unpack(reader))
        reader.end()
        count = body.varint()
        require(1 <= count <= 400, "an impossible number of scans")
        headers = Headers(body.block())
        self.scans = []
        for _ in range(count):
            plain, scan = headers.next_scan()
            self.scans.append((plain, scan, Notes(body)))
        body.end()
        self.headers = headers
        self.trailer = headers.plain[headers.at :]
        self.quant = [headers.latched.get(i, [1] * 64) for i in range(len(headers.frame))]

    def rebuild(self, blocks):
        out = b""
        for plain, scan, notes in self.scans:
            out += plain + ScanEncoder(scan, notes).encode(self.headers.walk(scan), blocks)
        return out + self.trailer
