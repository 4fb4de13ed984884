"""What the embedded model is asked to write about: several hundred subjects over wide domains, and tasks for code."""

from __future__ import annotations

from typing import Final


def split(text: str) -> list[str]:
    """The parts of a text between semicolons, with single spaces."""
    return [" ".join(part.split()) for part in text.split(";")]


_SUBJECTS: Final = {
    "animals": """
        cats; an old dog; wolves in winter; the blue whale; honeybees; a spider in the bathroom; horses;
        elephants and their memory; owls; sharks; penguins; a lost kitten; butterflies; crocodiles; ants at
        work; foxes in the city; the octopus; parrots; sheep on a hillside; dinosaurs; a pet hamster; salmon
        swimming home; bats; frogs and tadpoles; lions on the savanna; a snail race; migrating geese; the
        extinct dodo
    """,
    "food": """
        tomato soup; a birthday cake; sushi; fresh bread; spicy curry; pancakes; homemade pizza; apple pie;
        chocolate cookies; a fried egg; lentil stew; ice cream in summer; roast chicken; vegetable lasagne;
        dumplings; a salad from the garden; coffee; green tea; cheese making; red wine; garlic; a picnic; school
        lunches; vegan cooking; street food in Bangkok; a burnt dinner; pickles; olive oil; potato salad;
        pumpkin bread
    """,
    "travel": """
        a week in Paris; the night train; a beach in Thailand; hiking in the Alps; a lost passport; Tokyo; a
        road trip across America; the pyramids of Egypt; a safari in Kenya; backpacking on a budget; Venice by
        boat; the Sahara desert; an airport delay; Iceland; a small hotel by the sea; New York City; a cruise;
        Morocco's markets; the Great Wall of China; camping in the rain; Istanbul; the Trans-Siberian railway;
        London museums; travelling with children; a homestay in Peru; Rome on foot; a ferry in Norway; crossing
        a border
    """,
    "medicine": """
        a headache that won't go away; vaccines; diabetes; a broken arm; how the heart works; insomnia; high
        blood pressure; a visit to the dentist; antibiotics; allergies in spring; back pain; the flu; pregnancy;
        cancer screening; asthma; first aid for burns; a surgeon's day; dementia; nutrition for athletes;
        eyesight; a nurse on night shift; blood donation; stress and health; physical therapy; malaria; a
        toddler with a fever
    """,
    "law": """
        a parking fine; a rental contract; copyright; a jury trial; divorce; the supreme court; a stolen
        bicycle; employment rights; a last will; self-defence; freedom of speech; a witness who lies; tax
        evasion; patents; privacy on the internet; a judge's decision; police searches; immigration; small
        claims court; bail; a noisy neighbour; data protection; the death penalty; consumer rights; a bank
        robbery; a fraud case
    """,
    "sports": """
        the football final; learning to swim; a marathon; basketball practice; tennis; chess tournaments; the
        Olympic Games; a boxing match; surfing; skiing for beginners; a cycling race; baseball; yoga; climbing;
        cricket; a coach's speech; ice hockey; gymnastics; golf; rowing; a penalty shootout; karate; sailing; a
        torn ligament; table tennis; fans in the stadium; horse riding; weightlifting
    """,
    "feelings": """
        feeling lonely in a new city; anger at a friend; being nervous before an exam; falling in love; grief
        after losing a parent; jealousy; pride in a child; the fear of flying; boredom; guilt; gratitude; hope;
        embarrassment at a party; homesickness; joy; envy at work; shame; being overwhelmed; forgiveness;
        surprise; a broken heart; trust; stage fright; nostalgia; disappointment; the happiness of small things;
        regret
    """,
    "history": """
        the Roman Empire; the French Revolution; the moon landing; the Black Death; Cleopatra; the Vikings; the
        Industrial Revolution; the fall of the Berlin Wall; the Silk Road; the American Civil War; Napoleon;
        ancient Greece; the Titanic; the First World War; the printing press; the samurai; the slave trade;
        Gandhi; the Aztecs; the Cold War; the Great Depression; medieval castles; Genghis Khan; the Ottoman
        Empire; suffrage; the building of the pyramids; Julius Caesar; Queen Victoria; the Mayflower; the
        Chernobyl disaster
    """,
    "science": """
        black holes; photosynthesis; gravity; DNA; plate tectonics; the periodic table; evolution; atoms;
        electricity; vaccines and the immune system; rainbows; the speed of light; quantum physics; volcanoes;
        magnets; entropy; bacteria; the water cycle; stars; the human brain; sound waves; acids and bases;
        fossils; tides; climate change; the ozone layer; nuclear energy; the scientific method; genetics; the
        Milky Way; Mars; comets; relativity; neurons; friction; the moon's phases; earthquakes; crystals;
        viruses; chemistry in the kitchen
    """,
    "technology": """
        smartphones; electric cars; artificial intelligence; a robot vacuum; the internet; passwords; 3D
        printing; satellites; virtual reality; social media; solar panels; a broken laptop; drones; video games;
        cloud computing; computer viruses; cryptocurrency; search engines; self-driving trucks; batteries;
        e-books; the first computer; Wi-Fi at home; machine translation; digital cameras; spam email;
        open-source software; microchips; smart watches; online shopping; quantum computers; the telephone
    """,
    "nature": """
        a forest in autumn; the ocean at night; a thunderstorm; deserts; the first snow; a mountain lake;
        waterfalls; coral reefs; spring flowers; an old oak tree; rivers; the northern lights; a drought;
        islands; rainforests; mushrooms; sunrise; fog; a hurricane; tulips; glaciers; a garden after rain;
        meadows; caves; the wind; wild roses; a wildfire; moss; a frozen pond; palm trees; a heat wave; the four
        seasons
    """,
    "family": """
        a grandmother's kitchen; twins; a new baby; teenagers; wedding planning; an uncle who tells jokes;
        moving house; chores; bedtime; sibling rivalry; adoption; a family reunion; homework; pocket money; a
        stepfather; a mother's advice; a father and his daughter; a birthday party; ageing parents; an only
        child; screen time; living with in-laws; a family tree; holidays together; the first day of school; a
        long marriage
    """,
    "work": """
        a job interview; asking for a raise; a difficult boss; remote work; quitting; the first day at the
        office; a team meeting; burnout; a small bakery business; teamwork; a late project; customer complaints;
        networking; a career change; an intern's mistake; retirement; a factory strike; leadership; a farmer's
        day; a carpenter; firefighters; taxi drivers; a plumber; a fashion designer; an accountant in April; a
        sales pitch; office plants
    """,
    "money": """
        saving for a house; credit card debt; the stock market; inflation; a monthly budget; taxes; insurance; a
        lottery win; pensions; interest rates; a mortgage; a piggy bank; bargaining at a market; bankruptcy;
        gold; a start-up looking for investors; poverty; tipping; trade between countries; unemployment; student
        loans; a price war; charity; counterfeit notes; a bank account for teenagers; the housing market
    """,
    "politics": """
        an election; democracy; a protest march; the mayor of a small town; climate policy; public transport; a
        peace treaty; the United Nations; voting at sixteen; a corrupt minister; free education; healthcare
        reform; a border dispute; campaign speeches; human rights; the monarchy; nuclear weapons; local
        councils; refugees; lobbying; a referendum; gun control; minimum wage; a dictator; civil disobedience;
        foreign aid
    """,
    "religion": """
        Buddhism; a Christmas service; Ramadan; the Ten Commandments; prayer; Hindu festivals; a monastery;
        angels; the idea of a soul; Judaism; pilgrimage; a village church; meditation; karma; the creation of
        the world; a priest who doubts; atheism; Easter; the Quran; Greek gods; heaven and hell; a baptism;
        Noah's ark; Zen; saints
    """,
    "arts": """
        Mozart; learning the guitar; Van Gogh; ballet; a school play; jazz; photography; poetry; Shakespeare;
        watercolour painting; hip-hop; a film about robots; sculpture; pottery; opera; the violin; street art;
        novels; horror films; choir singing; drumming; comic books; origami; a museum at night; fashion;
        architecture; piano; Beethoven's deafness; knitting; a magician; stand-up comedy; a haunted theatre
    """,
    "everyday": """
        a messy bedroom; laundry; a missed bus; a rainy Sunday; the neighbour's cat; grocery shopping; keys; a
        broken washing machine; a haircut; a power cut; a traffic jam; waking up early; an old bicycle; a new
        sofa; recycling; a leaking tap; a lost wallet; a noisy fridge; a walk in the park; a phone call from a
        stranger; procrastination; the weekend; a letter that came too late; moving boxes; a garden fence; a
        flat tyre; umbrellas; cleaning the kitchen; a queue at the post office; a Monday morning; a red scarf;
        wooden furniture; shoes
    """,
    "fantasy": """
        a dragon who is afraid of fire; a talking tree; a wizard's apprentice; a time machine; a ghost ship; an
        alien who visits a school; a hidden door; a robot that learns to love; vampires; a mermaid; the last
        human; a magic mirror; a spaceship in trouble; a cursed ring; a giant; a princess who saves the prince;
        a haunted house; an invisible boy; a city under the sea; a clockwork bird; werewolves; an elf in New
        York; a pirate treasure; a map that changes; a colony on Mars; the king's secret; a sleeping giant;
        zombies; a goblin market
    """,
    "mystery": """
        a murder on a train; a missing painting; a locked room; footprints in the snow; a stolen diamond; a
        detective with a cold; a spy in Berlin; an anonymous letter; a body in the library; a kidnapping;
        poison; a secret agent on holiday; a forged signature; the butler; a strange noise upstairs; a
        blackmailer; a lighthouse; the last witness; a private eye in Chicago; an empty grave; a code in a
        newspaper; a bank vault; a double life
    """,
    "education": """
        learning a language; a strict teacher; exams; reading for pleasure; mathematics anxiety; libraries; a
        school trip; homeschooling; university life; handwriting; bullying; a science fair; memory tricks;
        spelling; a scholarship; kindergarten; group work; online courses; essay writing; grammar; a chemistry
        lesson; geography; sign language; a graduation speech; note taking; the alphabet; philosophy for
        children; the history class
    """,
    "transport": """
        bicycles; steam trains; the aeroplane; a submarine; motorcycles; the underground; a sailing ship; buses;
        a tractor; hot-air balloons; lorries; the wheel; helicopters; a tram; rockets; bridges; canals; ferries;
        driving lessons; road safety; an old car; airships; cable cars; a harbour; traffic lights; a horse
        carriage
    """,
    "home and garden": """
        tomato plants; painting a wall; a wooden shelf; roses; compost; indoor plants; a lawn; bees in the
        garden; a fireplace; insulation; a hammer and nails; a bird house; tiling a bathroom; curtains; a shed;
        pruning trees; growing herbs; a vegetable patch; sewing a button; candles; a door that squeaks;
        wallpaper; weeds; repairing a chair; a small balcony; watering in summer; hanging a picture; a new
        kitchen
    """,
    "war": """
        soldiers in a trench; a letter from the front; tanks; a ceasefire; a general's mistake; air raids;
        spies; a field hospital; the navy; a child in a ruined city; swords and shields; a siege; veterans;
        landmines; a battle at dawn; the home front; prisoners of war; a cavalry charge; peace talks;
        guerrillas; drones in war
    """,
    "philosophy": """
        free will; the meaning of life; truth; beauty; justice; time; what it is to be conscious; death;
        friendship; lying for a good reason; happiness; Socrates; infinity; the trolley problem; wisdom;
        solitude; right and wrong; identity; knowledge; courage; freedom; the value of work; the mind and the
        body; luck
    """,
    "numbers": """
        fractions; prime numbers; percentages; a train that leaves at 9:15; dividing a cake among 12 guests; the
        area of a circle; probability with dice; 7 times 8; a shopping bill of $43.50; compound interest;
        averages; the Pythagorean theorem; negative numbers; speed and distance; counting in binary; a discount
        of 20%; zero; pi; algebra; ratios in a recipe; triangles; statistics; units of length; large numbers; a
        football league table
    """,
}

_CODE_TASKS: Final = """
    reverses a string; sorts a list of numbers; reads a CSV file; counts the words in a text; finds prime
    numbers; connects to a database; sends an email; parses JSON; computes the factorial; draws a circle; checks
    whether a word is a palindrome; implements a stack; implements a queue; searches a binary tree; downloads a
    web page; validates an email address; converts Celsius to Fahrenheit; plays tic-tac-toe; shuffles a deck of
    cards; logs errors to a file; counts down to zero; merges two dictionaries; finds the largest number; makes
    a calculator; models a bank account; models a library with books; renders a login form; handles a button
    click; adds two matrices; computes the Fibonacci numbers; removes duplicates; encrypts a message; measures
    the running time; walks through a folder; reads a date; rolls dice; prints a multiplication table; builds a
    to-do list; resizes an image; opens a socket; tests a function; trains a linear regression; draws a bar
    chart; splits a string; caches results; retries a request; parses command-line arguments; rounds prices;
    generates random passwords; groups people by age
"""

SUBJECTS: Final = {domain: split(text) for domain, text in _SUBJECTS.items()}
CODE_TASKS: Final = split(_CODE_TASKS)
"""Each follows "a function that"."""
