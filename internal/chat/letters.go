package chat

// parts are the composed letters of Unicode, in lower case, below U+3100, and
// what they are made of. TestParts compares it with the standard's data.
var parts = func() map[rune]part {
	m := make(map[rune]part)
	for _, c := range composed {
		letters := []rune(c.letters)
		for i := 0; i < len(letters); i += 2 {
			m[letters[i+1]] = part{letters[i], c.mark}
		}
	}
	return m
}()

// part is what a composed letter is made of. A mark of 0 is none: it is another
// name of the base.
type part struct{ base, mark rune }

// composed has, for each mark, letters and what they are with it, in turn.
var composed = []struct {
	mark    rune
	letters string
}{
	{0x0000, "\u0300\u0340\u0301\u0341\u0313\u0343ʹʹάάέέήήίίόόύύώώιιΐΐΰΰ"},
	{0x0300, "aàeèiìoòuùüǜnǹеѐиѝēḕōṑwẁâầăằêềôồơờưừyỳἀἂἁἃἐἒἑἓἠἢἡἣἰἲἱἳὀὂὁὃὐὒὑὓὠὢὡὣαὰεὲηὴιὶοὸυὺωὼϊῒϋῢ"},
	{0x0301, "aáeéiíoóuúyýcćlĺnńrŕsśzźüǘgǵåǻæǽøǿ\u0308\u0344ϊΐαάεέηήιίϋΰοόυύωώϒϓгѓкќçḉēḗïḯkḱmḿõṍōṓpṕũṹwẃâấăắêếôốơớưứἀἄἁἅἐἔἑἕἠἤἡἥἰἴἱἵὀὄὁὅὐὔὑὕὠὤὡὥ"},
	{0x0302, "aâeêiîoôuûcĉgĝhĥjĵsŝwŵyŷzẑạậẹệọộ"},
	{0x0303, "aãnñoõiĩuũvṽâẫăẵeẽêễôỗơỡưữyỹ"},
	{0x0304, "aāeēiīoōuūüǖäǟȧǡæǣǫǭöȫõȭȯȱyȳиӣуӯgḡḷḹṛṝαᾱιῑυῡ"},
	{0x0306, "aăeĕgğiĭoŏuŭийуўжӂаӑеӗȩḝạặαᾰιῐυῠ"},
	{0x0307, "cċeėgġzżaȧoȯbḃdḋfḟhḣmṁnṅpṗrṙsṡśṥšṧṣṩtṫwẇxẋyẏſẛ"},
	{0x0308, "aäeëiïoöuüyÿιϊυϋϒϔеёіїаӓәӛжӝзӟиӥоӧөӫэӭуӱчӵыӹhḧõṏūṻwẅxẍtẗ"},
	{0x0309, "aảâẩăẳeẻêểiỉoỏôổơởuủưửyỷ"},
	{0x030A, "aåuůwẘyẙ"},
	{0x030B, "oőuűуӳ"},
	{0x030C, "cčdďeělľnňrřsštťzžaǎiǐoǒuǔüǚgǧkǩʒǯjǰhȟ"},
	{0x030F, "aȁeȅiȉoȍrȑuȕѵѷ"},
	{0x0311, "aȃeȇiȋoȏrȓuȗ"},
	{0x0313, "αἀεἐηἠιἰοὀυὐωὠρῤ"},
	{0x0314, "αἁεἑηἡιἱοὁυὑωὡρῥ"},
	{0x031B, "oơuư"},
	{0x0323, "bḅdḍhḥkḳlḷmṃnṇrṛsṣtṭvṿwẉzẓaạeẹiịoọơợuụưựyỵ"},
	{0x0324, "uṳ"},
	{0x0325, "aḁ"},
	{0x0326, "sștț"},
	{0x0327, "cçgģkķlļnņrŗsştţeȩdḑhḩ"},
	{0x0328, "aąeęiįuųoǫ"},
	{0x032D, "dḓeḙlḽnṋtṱuṷ"},
	{0x032E, "hḫ"},
	{0x0330, "eḛiḭuṵ"},
	{0x0331, "bḇdḏkḵlḻnṉrṟtṯzẕhẖ"},
	{0x0342, "ἀἆἁἇἠἦἡἧἰἶἱἷὐὖὑὗὠὦὡὧαᾶηῆιῖϊῗυῦϋῧωῶ"},
	{0x0345, "ἀᾀἁᾁἂᾂἃᾃἄᾄἅᾅἆᾆἇᾇἠᾐἡᾑἢᾒἣᾓἤᾔἥᾕἦᾖἧᾗὠᾠὡᾡὢᾢὣᾣὤᾤὥᾥὦᾦὧᾧὰᾲαᾳάᾴᾶᾷὴῂηῃήῄῆῇὼῲωῳώῴῶῷ"},
	{0x0653, "\u0627\u0622"},
	{0x0654, "\u0627\u0623\u0648\u0624\u064a\u0626\u06d5\u06c0\u06c1\u06c2\u06d2\u06d3"},
	{0x0655, "\u0627\u0625"},
	{0x093C, "\u0928\u0929\u0930\u0931\u0933\u0934\u0915\u0958\u0916\u0959\u0917\u095a\u091c\u095b\u0921\u095c\u0922\u095d\u092b\u095e\u092f\u095f"},
	{0x09BC, "\u09a1\u09dc\u09a2\u09dd\u09af\u09df"},
	{0x09BE, "\u09c7\u09cb"},
	{0x09D7, "\u09c7\u09cc"},
	{0x0A3C, "\u0a32\u0a33\u0a38\u0a36\u0a16\u0a59\u0a17\u0a5a\u0a1c\u0a5b\u0a2b\u0a5e"},
	{0x0B3C, "\u0b21\u0b5c\u0b22\u0b5d"},
	{0x0B3E, "\u0b47\u0b4b"},
	{0x0B56, "\u0b47\u0b48"},
	{0x0B57, "\u0b47\u0b4c"},
	{0x0BBE, "\u0bc6\u0bca\u0bc7\u0bcb"},
	{0x0BD7, "\u0b92\u0b94\u0bc6\u0bcc"},
	{0x0C56, "\u0c46\u0c48"},
	{0x0CC2, "\u0cc6\u0cca"},
	{0x0CD5, "\u0cbf\u0cc0\u0cc6\u0cc7\u0cca\u0ccb"},
	{0x0CD6, "\u0cc6\u0cc8"},
	{0x0D3E, "\u0d46\u0d4a\u0d47\u0d4b"},
	{0x0D57, "\u0d46\u0d4c"},
	{0x0DCA, "\u0dd9\u0dda\u0ddc\u0ddd"},
	{0x0DCF, "\u0dd9\u0ddc"},
	{0x0DDF, "\u0dd9\u0dde"},
	{0x0F72, "\u0f71\u0f73"},
	{0x0F74, "\u0f71\u0f75"},
	{0x0F80, "\u0fb2\u0f76\u0fb3\u0f78\u0f71\u0f81"},
	{0x0FB5, "\u0f40\u0f69\u0f90\u0fb9"},
	{0x0FB7, "\u0f42\u0f43\u0f4c\u0f4d\u0f51\u0f52\u0f56\u0f57\u0f5b\u0f5c\u0f92\u0f93\u0f9c\u0f9d\u0fa1\u0fa2\u0fa6\u0fa7\u0fab\u0fac"},
	{0x102E, "\u1025\u1026"},
	{0x1B35, "\u1b05\u1b06\u1b07\u1b08\u1b09\u1b0a\u1b0b\u1b0c\u1b0d\u1b0e\u1b11\u1b12\u1b3a\u1b3b\u1b3c\u1b3d\u1b3e\u1b40\u1b3f\u1b41\u1b42\u1b43"},
	{0x3099, "かがきぎくぐけげこごさざしじすずせぜそぞただちぢつづてでとどはばひびふぶへべほぼうゔ\u309d\u309e\u30ab\u30ac\u30ad\u30ae\u30af\u30b0\u30b1\u30b2\u30b3\u30b4\u30b5\u30b6\u30b7\u30b8\u30b9\u30ba\u30bb\u30bc\u30bd\u30be\u30bf\u30c0\u30c1\u30c2\u30c4\u30c5\u30c6\u30c7\u30c8\u30c9\u30cf\u30d0\u30d2\u30d3\u30d5\u30d6\u30d8\u30d9\u30db\u30dc\u30a6\u30f4\u30ef\u30f7\u30f0\u30f8\u30f1\u30f9\u30f2\u30fa\u30fd\u30fe"},
	{0x309A, "はぱひぴふぷへぺほぽ\u30cf\u30d1\u30d2\u30d4\u30d5\u30d7\u30d8\u30da\u30db\u30dd"},
}
