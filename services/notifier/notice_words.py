"""The words of notices, in every language we speak.

Each kind has a sentence that says what happened and one that says what to do; kinds about a second factor have one for
each method, and one for a method that is not known. `{when}` stands in the middle of a sentence, `{When}` at its
beginning. They name nobody and no clinic, and hold no code and no link (A56).
"""

from collections.abc import Mapping

SAYS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "factor_added:totp": "An authenticator app was added to your account {when}.",
        "factor_added:sms": "Codes by text message were set up for your account {when}.",
        "factor_added": "A second step was added to your sign-in {when}.",
        "factor_changed:totp": "Your authenticator app was replaced {when}.",
        "factor_changed:sms": "Your codes by text message were set up anew {when}.",
        "factor_changed": "The second step of your sign-in was replaced {when}.",
        "factor_removed:totp": "Your authenticator app was removed from your account {when}.",
        "factor_removed:sms": "Codes by text message were turned off for your account {when}.",
        "factor_removed": "The second step of your sign-in was removed {when}.",
        "bypass_granted": "{When}, an administrator allowed you to sign in once without a code.",
        "bypass_used": "Someone signed in to your account without a code {when}, as an administrator had allowed.",
        "bypass_enrolled:totp": "{When}, after the sign-in without a code, a new authenticator app was set up for your"
        " account.",
        "bypass_enrolled:sms": "{When}, after the sign-in without a code, codes by text message were set up for your"
        " account.",
        "bypass_enrolled": "{When}, after the sign-in without a code, a new second step was set up for your account.",
        "granted_bypass_used": "The sign-in without a code that you allowed was used {when}.",
        "granted_bypass_enrolled": "{When}, after the sign-in without a code that you allowed, a new second step was"
        " set up.",
        "operator_bypass_granted": "{When}, the operator allowed one of your users to sign in once without a code.",
        "backup_codes_made": "New backup codes were made for your account {when}. The old ones no longer work.",
        "backup_codes_low": "Your account is running out of backup codes: {left} left.",
        "guesses_spent": "Too many wrong codes were typed for your account {when}.",
        "password_changed": "Your password was changed {when}.",
        "password_reset": "Your password was reset {when}.",
        "phone_changed": "The phone number of your account was changed {when}.",
        "new_browser": "Someone signed in to your account {when} with a browser not used before.",
    },
    "de": {
        "factor_added:totp": "Ihrem Konto wurde {when} eine Authenticator-App hinzugefügt.",
        "factor_added:sms": "Für Ihr Konto wurden {when} Codes per SMS eingerichtet.",
        "factor_added": "Für Ihr Konto wurde {when} ein zweiter Schritt der Anmeldung eingerichtet.",
        "factor_changed:totp": "Ihre Authenticator-App wurde {when} ersetzt.",
        "factor_changed:sms": "Ihre Codes per SMS wurden {when} neu eingerichtet.",
        "factor_changed": "Der zweite Schritt Ihrer Anmeldung wurde {when} ersetzt.",
        "factor_removed:totp": "Ihre Authenticator-App wurde {when} aus Ihrem Konto entfernt.",
        "factor_removed:sms": "Codes per SMS wurden {when} für Ihr Konto abgeschaltet.",
        "factor_removed": "Der zweite Schritt Ihrer Anmeldung wurde {when} entfernt.",
        "bypass_granted": "{When} hat Ihnen die Administration erlaubt, sich einmal ohne Code anzumelden.",
        "bypass_used": "Jemand hat sich {when} mit Erlaubnis der Administration ohne Code angemeldet.",
        "bypass_enrolled:totp": "{When} wurde nach der Anmeldung ohne Code eine neue Authenticator-App für Ihr Konto"
        " eingerichtet.",
        "bypass_enrolled:sms": "{When} wurden nach der Anmeldung ohne Code für Ihr Konto Codes per SMS eingerichtet.",
        "bypass_enrolled": "{When} wurde nach der Anmeldung ohne Code ein neuer zweiter Schritt für Ihr Konto"
        " eingerichtet.",
        "granted_bypass_used": "Die Anmeldung ohne Code, die Sie erlaubt haben, wurde {when} benutzt.",
        "granted_bypass_enrolled": "{When} wurde nach der Anmeldung ohne Code, die Sie erlaubt haben, ein neuer zweiter"
        " Schritt eingerichtet.",
        "operator_bypass_granted": "{When} hat der Betreiber jemandem bei Ihnen erlaubt, sich einmal ohne Code"
        " anzumelden.",
        "backup_codes_made": "Für Ihr Konto wurden {when} neue Backup-Codes erstellt. Die alten gelten nicht mehr.",
        "backup_codes_low": "Die Backup-Codes Ihres Kontos gehen zur Neige: noch {left}.",
        "guesses_spent": "Für Ihr Konto wurden {when} zu viele falsche Codes eingegeben.",
        "password_changed": "Ihr Passwort wurde {when} geändert.",
        "password_reset": "Ihr Passwort wurde {when} zurückgesetzt.",
        "phone_changed": "Die Telefonnummer Ihres Kontos wurde {when} geändert.",
        "new_browser": "Jemand hat sich {when} mit einem bisher nicht benutzten Browser in Ihrem Konto angemeldet.",
    },
    "fr": {
        "factor_added:totp": "Une application d'authentification a été ajoutée à votre compte {when}.",
        "factor_added:sms": "Les codes par SMS ont été activés pour votre compte {when}.",
        "factor_added": "Une deuxième étape de connexion a été ajoutée à votre compte {when}.",
        "factor_changed:totp": "Votre application d'authentification a été remplacée {when}.",
        "factor_changed:sms": "Vos codes par SMS ont été configurés à nouveau {when}.",
        "factor_changed": "La deuxième étape de votre connexion a été remplacée {when}.",
        "factor_removed:totp": "Votre application d'authentification a été retirée de votre compte {when}.",
        "factor_removed:sms": "Les codes par SMS ont été désactivés pour votre compte {when}.",
        "factor_removed": "La deuxième étape de votre connexion a été retirée {when}.",
        "bypass_granted": "{When}, l'administration vous a permis une connexion sans code.",
        "bypass_used": "Une connexion sans code à votre compte, permise par l'administration, a eu lieu {when}.",
        "bypass_enrolled:totp": "{When}, après la connexion sans code, une nouvelle application d'authentification a"
        " été ajoutée à votre compte.",
        "bypass_enrolled:sms": "{When}, après la connexion sans code, les codes par SMS ont été activés pour votre"
        " compte.",
        "bypass_enrolled": "{When}, après la connexion sans code, une nouvelle deuxième étape a été ajoutée à votre"
        " compte.",
        "granted_bypass_used": "La connexion sans code que vous avez permise a été utilisée {when}.",
        "granted_bypass_enrolled": "{When}, après la connexion sans code que vous avez permise, une nouvelle deuxième"
        " étape a été ajoutée.",
        "operator_bypass_granted": "{When}, l'exploitant a permis à l'un de vos utilisateurs une connexion sans code.",
        "backup_codes_made": "De nouveaux codes de secours ont été créés pour votre compte {when}. Les anciens ne sont"
        " plus valables.",
        "backup_codes_low": "Il reste peu de codes de secours à votre compte : {left}.",
        "guesses_spent": "Trop de codes erronés ont été saisis pour votre compte {when}.",
        "password_changed": "Votre mot de passe a été changé {when}.",
        "password_reset": "Votre mot de passe a été réinitialisé {when}.",
        "phone_changed": "Le numéro de téléphone de votre compte a été changé {when}.",
        "new_browser": "Une connexion à votre compte a eu lieu {when} avec un navigateur encore jamais utilisé.",
    },
    "es": {
        "factor_added:totp": "Se añadió una aplicación de autenticación a su cuenta {when}.",
        "factor_added:sms": "Se activaron los códigos por SMS para su cuenta {when}.",
        "factor_added": "Se añadió un segundo paso al inicio de sesión de su cuenta {when}.",
        "factor_changed:totp": "Se sustituyó su aplicación de autenticación {when}.",
        "factor_changed:sms": "Se configuraron de nuevo sus códigos por SMS {when}.",
        "factor_changed": "Se sustituyó el segundo paso de su inicio de sesión {when}.",
        "factor_removed:totp": "Se quitó la aplicación de autenticación de su cuenta {when}.",
        "factor_removed:sms": "Se desactivaron los códigos por SMS de su cuenta {when}.",
        "factor_removed": "Se quitó el segundo paso de su inicio de sesión {when}.",
        "bypass_granted": "{When}, un administrador le permitió entrar una vez sin código.",
        "bypass_used": "Alguien entró en su cuenta sin código {when}, con permiso de un administrador.",
        "bypass_enrolled:totp": "{When}, tras la entrada sin código, se configuró una nueva aplicación de autenticación"
        " en su cuenta.",
        "bypass_enrolled:sms": "{When}, tras la entrada sin código, se activaron los códigos por SMS en su cuenta.",
        "bypass_enrolled": "{When}, tras la entrada sin código, se configuró un nuevo segundo paso en su cuenta.",
        "granted_bypass_used": "La entrada sin código que usted permitió se usó {when}.",
        "granted_bypass_enrolled": "{When}, tras la entrada sin código que usted permitió, se configuró un nuevo"
        " segundo paso.",
        "operator_bypass_granted": "{When}, el operador permitió a uno de sus usuarios entrar una vez sin código.",
        "backup_codes_made": "Se crearon nuevos códigos de respaldo para su cuenta {when}. Los anteriores ya no"
        " sirven.",
        "backup_codes_low": "A su cuenta le quedan pocos códigos de respaldo: {left}.",
        "guesses_spent": "Se escribieron demasiados códigos incorrectos para su cuenta {when}.",
        "password_changed": "Se cambió su contraseña {when}.",
        "password_reset": "Se restableció su contraseña {when}.",
        "phone_changed": "Se cambió el número de teléfono de su cuenta {when}.",
        "new_browser": "Alguien entró en su cuenta {when} con un navegador que no se había usado antes.",
    },
    "nl": {
        "factor_added:totp": "Er is {when} een authenticator-app aan uw account toegevoegd.",
        "factor_added:sms": "Voor uw account zijn {when} codes per sms ingesteld.",
        "factor_added": "Aan uw account is {when} een tweede inlogstap toegevoegd.",
        "factor_changed:totp": "Uw authenticator-app is {when} vervangen.",
        "factor_changed:sms": "Uw codes per sms zijn {when} opnieuw ingesteld.",
        "factor_changed": "De tweede inlogstap van uw account is {when} vervangen.",
        "factor_removed:totp": "Uw authenticator-app is {when} uit uw account verwijderd.",
        "factor_removed:sms": "Codes per sms zijn {when} voor uw account uitgezet.",
        "factor_removed": "De tweede inlogstap van uw account is {when} verwijderd.",
        "bypass_granted": "{When} heeft een beheerder u toegestaan één keer zonder code in te loggen.",
        "bypass_used": "Iemand heeft {when} zonder code ingelogd op uw account, zoals een beheerder had toegestaan.",
        "bypass_enrolled:totp": "{When} is na het inloggen zonder code een nieuwe authenticator-app voor uw account"
        " ingesteld.",
        "bypass_enrolled:sms": "{When} zijn na het inloggen zonder code voor uw account codes per sms ingesteld.",
        "bypass_enrolled": "{When} is na het inloggen zonder code een nieuwe tweede stap voor uw account ingesteld.",
        "granted_bypass_used": "De keer inloggen zonder code die u hebt toegestaan, is {when} gebruikt.",
        "granted_bypass_enrolled": "{When} is na de keer inloggen zonder code die u hebt toegestaan een nieuwe tweede"
        " stap ingesteld.",
        "operator_bypass_granted": "{When} heeft de exploitant een van uw gebruikers toegestaan één keer zonder code in"
        " te loggen.",
        "backup_codes_made": "Voor uw account zijn {when} nieuwe back-upcodes gemaakt. De oude werken niet meer.",
        "backup_codes_low": "De back-upcodes van uw account raken op: nog {left}.",
        "guesses_spent": "Voor uw account zijn {when} te veel verkeerde codes ingevoerd.",
        "password_changed": "Uw wachtwoord is {when} gewijzigd.",
        "password_reset": "Uw wachtwoord is {when} opnieuw ingesteld.",
        "phone_changed": "Het telefoonnummer van uw account is {when} gewijzigd.",
        "new_browser": "Iemand heeft {when} ingelogd op uw account met een browser die niet eerder is gebruikt.",
    },
}

# What to do; "" counts for every kind that has none of its own.
ADVISES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "": "If that was not you, tell your administrator at once.",
        "bypass_granted": "If you did not ask for that, tell your administrator at once.",
        "granted_bypass_used": "If that seems wrong, undo it within 24 hours.",
        "granted_bypass_enrolled": "If that seems wrong, undo it within 24 hours.",
        "operator_bypass_granted": "If nobody asked for that, contact the operator at once.",
        "backup_codes_low": "Make new ones the next time you sign in.",
        "guesses_spent": "If that was not you, someone knows your password: change it, or ask your administrator.",
    },
    "de": {
        "": "Wenn Sie das nicht waren, sagen Sie es sofort Ihrer Administration.",
        "bypass_granted": "Wenn Sie nicht darum gebeten haben, sagen Sie es sofort Ihrer Administration.",
        "granted_bypass_used": "Wenn daran etwas nicht stimmt, machen Sie es binnen 24 Stunden rückgängig.",
        "granted_bypass_enrolled": "Wenn daran etwas nicht stimmt, machen Sie es binnen 24 Stunden rückgängig.",
        "operator_bypass_granted": "Wenn niemand darum gebeten hat, fragen Sie sofort den Betreiber.",
        "backup_codes_low": "Erstellen Sie bei der nächsten Anmeldung neue.",
        "guesses_spent": "Wenn Sie das nicht waren, kennt jemand Ihr Passwort: Ändern Sie es, oder fragen Sie Ihre"
        " Administration.",
    },
    "fr": {
        "": "Si ce n'était pas vous, prévenez tout de suite votre administrateur.",
        "bypass_granted": "Si vous ne l'avez pas demandé, prévenez tout de suite votre administrateur.",
        "granted_bypass_used": "Si cela vous semble anormal, annulez-la dans les 24 heures.",
        "granted_bypass_enrolled": "Si cela vous semble anormal, annulez tout dans les 24 heures.",
        "operator_bypass_granted": "Si personne ne l'a demandé, contactez tout de suite l'exploitant.",
        "backup_codes_low": "Créez-en de nouveaux à votre prochaine connexion.",
        "guesses_spent": "Si ce n'était pas vous, quelqu'un connaît votre mot de passe : changez-le ou demandez à votre"
        " administrateur.",
    },
    "es": {
        "": "Si no fue usted, avise enseguida a su administrador.",
        "bypass_granted": "Si no lo pidió usted, avise enseguida a su administrador.",
        "granted_bypass_used": "Si algo le parece extraño, anúlelo en un plazo de 24 horas.",
        "granted_bypass_enrolled": "Si algo le parece extraño, anúlelo en un plazo de 24 horas.",
        "operator_bypass_granted": "Si nadie lo pidió, contacte enseguida con el operador.",
        "backup_codes_low": "Cree otros nuevos la próxima vez que entre.",
        "guesses_spent": "Si no fue usted, alguien conoce su contraseña: cámbiela o consulte a su administrador.",
    },
    "nl": {
        "": "Als u dat niet was, waarschuw dan meteen uw beheerder.",
        "bypass_granted": "Als u daar niet om hebt gevraagd, waarschuw dan meteen uw beheerder.",
        "granted_bypass_used": "Als er iets niet klopt, maak het dan binnen 24 uur ongedaan.",
        "granted_bypass_enrolled": "Als er iets niet klopt, maak het dan binnen 24 uur ongedaan.",
        "operator_bypass_granted": "Als niemand daarom heeft gevraagd, neem dan meteen contact op met de exploitant.",
        "backup_codes_low": "Maak nieuwe als u weer inlogt.",
        "guesses_spent": "Als u dat niet was, kent iemand uw wachtwoord: wijzig het of vraag uw beheerder.",
    },
}
